"""Filling an index again that lost what the host counts as done: the instance's files, read anew.

The host's ledger cannot be told that its work is gone; but the files are there, and which of them are the instance's
stands in its document.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from mosaicfs_core.hooks import DocumentQuery, FileQuery, FileRecord, PluginContext, Selection
from mosaicfs_fulltext.entries import Entry

_PAGE: Final = 500


async def own_files(context: PluginContext) -> AsyncIterator[Sequence[FileRecord]]:
    """Every file that the host tells the instance of, in pages: what all its selections hold."""
    found = await context.find_documents(DocumentQuery(type="plugin", key=(context.node_id, context.instance), limit=1))
    document: Mapping[str, Any] = found.items[0] if found.items else {}
    node_id = None if document.get("scope") == "instance" else context.node_id
    selections = _selections(document)
    pages = _selected(context, selections, node_id) if selections else _all(context, node_id)
    async for page in pages:
        yield page


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


def _selections(document: Mapping[str, Any]) -> dict[str, Selection]:
    """What the instance's document narrows its files by, each as a selection; a file has to be in all."""
    globs, budget = document.get("mime_globs"), document.get("budget")
    chains = {"steps": document.get("steps"), "budget": budget.get("steps") if isinstance(budget, Mapping) else None}
    selections = {name: Selection(steps=tuple(steps)) for name, steps in chains.items() if steps}
    if globs:
        step = {"op": "mime", "globs": list(globs), "on_match": "include"}
        selections["types"] = Selection(steps=(step,), default_result="exclude")
    return selections


async def _selected(
    context: PluginContext, selections: Mapping[str, Selection], node_id: str | None
) -> AsyncIterator[Sequence[FileRecord]]:
    async with aclosing(context.follow_files(selections)) as found:
        async for some in found:
            files = [one.file for one in some.files if one.file is not None and len(one.selections) == len(selections)]
            yield [file for file in files if node_id in (None, file.node_id)]
            if some.complete:
                return
