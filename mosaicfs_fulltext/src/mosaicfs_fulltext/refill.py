"""Filling an index again that lost what the host counts as done: the instance's files, read anew.

The host's ledger cannot be told that its work is gone; but the files are there, and which of them are the instance's
stands in its document.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import Any, Final

from mosaicfs_core.hooks import DocumentQuery, FileQuery, FileRecord, PluginContext, Selection
from mosaicfs_fulltext.entries import Entry

_PAGE: Final = 500


async def own_files(context: PluginContext) -> AsyncIterator[Sequence[FileRecord]]:
    """Every file that the instance is subscribed to, in pages."""
    found = await context.find_documents(DocumentQuery(type="plugin", key=(context.node_id, context.instance), limit=1))
    document: Mapping[str, Any] = found.items[0] if found.items else {}
    node_id = None if document.get("scope") == "instance" else context.node_id
    globs = tuple(document.get("mime_globs") or ())
    steps = tuple(document.get("steps") or ())
    pages = _selected(context, steps, node_id) if steps else _all(context, node_id)
    async for page in pages:
        yield [file for file in page if _matches(file, globs)]


def is_current(entry: Entry | None, file: FileRecord) -> bool:
    """Whether the index has the file as it is."""
    return (
        entry is not None
        and entry.status != "postponed"
        and (entry.mtime, entry.size, entry.path) == (file.mtime, file.size, file.export_path)
    )


async def _all(context: PluginContext, node_id: str | None) -> AsyncIterator[Sequence[FileRecord]]:
    query = FileQuery(node_id=node_id, limit=_PAGE)
    while True:
        page = await context.find_files(query)
        yield page.items
        if page.cursor is None or not page.items:
            return
        query = FileQuery(node_id=node_id, limit=_PAGE, cursor=page.cursor)


async def _selected(
    context: PluginContext, steps: tuple[Mapping[str, Any], ...], node_id: str | None
) -> AsyncIterator[Sequence[FileRecord]]:
    selection = Selection(steps=steps, default_result="exclude")
    async with aclosing(context.follow_files({"own": selection})) as found:
        async for some in found:
            files = [one.file for one in some.files if one.file is not None and one.selections]
            yield [file for file in files if node_id in (None, file.node_id)]
            if some.complete:
                return


def _matches(file: FileRecord, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(file.mime_type or "", glob) for glob in globs)
