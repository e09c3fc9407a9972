"""``_find``: documents that match a selector, through the best index that the selector allows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from ..errors import UserError
from .indexes import EVERY, FIELDS, KINDS
from .reader import Reader
from .selector import compile_selector, equalities

BATCH = 500
Shown: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
Place: TypeAlias = tuple[int | str, ...]
"""Where the walk that a selector leads to has come; its parts are each walk's own."""
_Walk: TypeAlias = Iterator[tuple[Place, dict[str, Any]]]


class Found(NamedTuple):
    """What was found, where to go on, how many matches are still to be skipped then, and whether all was looked at."""

    documents: list[dict[str, Any]]
    place: Place
    skip: int
    ended: bool


def find(
    reader: Reader,
    selector: Mapping[str, Any],
    limit: int,
    skip: int = 0,
    *,
    after: Place = (),
    most: int | None = None,
    types: Collection[str] | None = None,
    shown: Shown | None = None,
) -> Found:
    """Live documents that match. A selector that requires neither an id nor a type is tried on every document.

    ``after`` is the place that an earlier call for this selector returned. No more than ``most`` documents are looked
    at. ``types`` are the only types looked at, of those this version knows. ``shown`` gives a document the form in
    which it is matched and returned, None to pass it over. Raises UserError for a selector that cannot be understood,
    and for a place of another one.
    """
    matches = compile_selector(selector)
    found: list[dict[str, Any]] = []
    place = after
    if limit <= 0:
        return Found(found, place, skip, True)
    for looked_at, (place, stored) in enumerate(_candidates(reader, equalities(selector), after, types), 1):
        document = stored if shown is None else shown(stored)
        if document is not None and matches(document):
            if skip > 0:
                skip -= 1
            else:
                found.append(dict(document))
        if len(found) >= limit or looked_at == most:
            return Found(found, place, skip, False)
    return Found(found, place, skip, True)


def _candidates(reader: Reader, fixed: Mapping[str, Any], after: Place, types: Collection[str] | None) -> _Walk:
    identifier, type_name = fixed.get("_id"), fixed.get("type")
    if isinstance(identifier, str):
        return _one(reader.get(identifier), after)
    if isinstance(type_name, str):
        if types is not None and type_name not in types:
            return iter(())
        if type_name == "file":
            return _files(reader, fixed, after)
        if type_name not in KINDS or (type_name in FIELDS and "." not in type_name):
            return _of_type(reader, type_name, fixed, after)
    return _everything(reader, after) if types is None else _of_types(reader, sorted(types), after)


def _of_type(reader: Reader, type_name: str, fixed: Mapping[str, Any], after: Place) -> _Walk:
    key: list[str] = []
    for field in FIELDS.get(type_name, ()):
        if not isinstance(fixed.get(field), str):
            break
        key.append(fixed[field])
    # Only an index whose first field every document of the type has leads to all of them.
    index = type_name if key else EVERY.get(type_name, type_name)
    if after and (len(after) != 4 - len(key) - (index not in KINDS) or not isinstance(after[-1], int)):
        raise _strange()
    return reader.walk(index, key, after)


def _of_types(reader: Reader, types: list[str], after: Place) -> _Walk:
    begin = str(after[0]) if after else ""
    for type_name in types:
        if type_name >= begin:
            rest = after[1:] if type_name == begin else ()
            for place, document in _of_type(reader, type_name, {}, rest):
                yield (type_name, *place), document


def _files(reader: Reader, fixed: Mapping[str, Any], after: Place) -> _Walk:
    node_id, path, parent = (fixed.get(f"source.{field}") for field in ("node_id", "export_path", "export_parent"))
    inode = fixed.get("inode")
    if isinstance(inode, int):
        return _one(reader.get_by_inode(inode), after)
    if isinstance(node_id, str) and isinstance(path, str):
        parent = path.rpartition("/")[0] or "/"
    if isinstance(node_id, str) and isinstance(parent, str):
        directory = reader.directory(node_id, parent)
        return iter(()) if directory is None else _in_directory(reader, directory.dir, _number(after))
    return _everything(reader, after)


def _in_directory(reader: Reader, number: int, begin: int) -> _Walk:
    docs = [file.doc for file in reader.files_in(number) + reader.inactive_files_in(number)]
    for start in range(begin, len(docs), BATCH):
        documents = reader.documents(docs[start : start + BATCH])
        for position, document in enumerate(documents, start + 1):
            yield (position,), document


def _one(document: dict[str, Any] | None, after: Place) -> _Walk:
    return iter([] if document is None or after else [((1,), document)])


def _everything(reader: Reader, after: Place) -> _Walk:
    since = _number(after)
    while True:
        changes = reader.changes(since, BATCH, include_docs=True)
        for change in changes:
            if not change.deleted and not change.quarantined and change.doc is not None:
                yield (change.seq,), change.doc
        if len(changes) < BATCH:
            return
        since = changes[-1].seq


def _number(after: Place) -> int:
    if not after:
        return 0
    if len(after) != 1 or not isinstance(after[0], int) or not 0 <= after[0] < 1 << 63:
        raise _strange()
    return after[0]


def _strange() -> UserError:
    return UserError("bookmark: it is of another selector", field="bookmark")
