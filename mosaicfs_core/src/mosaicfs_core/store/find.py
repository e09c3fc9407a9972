"""``_find``: documents that match a selector, through the best index that the selector allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from .indexes import FIELDS
from .reader import Reader
from .selector import compile_selector, equalities

BATCH = 500
Shown: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def find(
    reader: Reader, selector: Mapping[str, Any], limit: int, skip: int = 0, *, shown: Shown | None = None
) -> list[dict[str, Any]]:
    """Live documents that match. A selector that requires neither an id nor a type is tried on every document.

    ``shown`` gives a document the form in which it is matched and returned, None to pass it over.
    """
    matches = compile_selector(selector)
    found: list[dict[str, Any]] = []
    if limit <= 0:
        return found
    for stored in _candidates(reader, equalities(selector)):
        document = stored if shown is None else shown(stored)
        if document is not None and matches(document):
            if skip > 0:
                skip -= 1
                continue
            found.append(dict(document))
            if len(found) >= limit:
                break
    return found


def _candidates(reader: Reader, fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    identifier, type_name = fixed.get("_id"), fixed.get("type")
    if isinstance(identifier, str):
        document = reader.get(identifier)
        return iter([] if document is None else [document])
    if type_name == "file":
        return _files(reader, fixed)
    if isinstance(type_name, str) and type_name in FIELDS and "." not in type_name:
        return _of_type(reader, type_name, fixed)
    return _everything(reader)


def _of_type(reader: Reader, type_name: str, fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    key: list[str] = []
    for field in FIELDS[type_name]:
        if not isinstance(fixed.get(field), str):
            break
        key.append(fixed[field])
    return reader.iter_documents(type_name, key)


def _files(reader: Reader, fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    node_id, path, parent = (fixed.get(f"source.{field}") for field in ("node_id", "export_path", "export_parent"))
    inode = fixed.get("inode")
    if isinstance(inode, int):
        document = reader.get_by_inode(inode)
        return iter([] if document is None else [document])
    if isinstance(node_id, str) and isinstance(path, str):
        parent = path.rpartition("/")[0] or "/"
    if isinstance(node_id, str) and isinstance(parent, str):
        directory = reader.directory(node_id, parent)
        if directory is None:
            return iter(())
        files = reader.files_in(directory.dir) + reader.inactive_files_in(directory.dir)
        return iter(reader.documents([file.doc for file in files]))
    return _everything(reader)


def _everything(reader: Reader) -> Iterator[dict[str, Any]]:
    since = 0
    while True:
        changes = reader.changes(since, BATCH, include_docs=True)
        for change in changes:
            if not change.deleted and not change.quarantined and change.doc is not None:
                yield change.doc
        if len(changes) < BATCH:
            return
        since = changes[-1].seq
