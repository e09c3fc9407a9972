"""Pure planning: what a listing means for what is known, and the documents that say so. No I/O, no asyncio."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mosaicfs_core.documents import paths, times
from mosaicfs_core.hooks import Entry
from mosaicfs_core.store import FileRow

_COMPRESSED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}
_OF_ONE_THAT_ENDED: Final = ("deleted_at", "renamed_onto")
_mime_types: dict[str, str | None] = {}

KnownRow = tuple[str, int, int, int, int | None]
"""name, size, mtime (microseconds), document number, 1 when active (else None)."""


class Difference(NamedTuple):
    """How a listing differs from what is known of the directory. ``changed`` pairs an entry with its document number;
    a deleted file that is back counts as changed. ``gone`` are document numbers of active files that are not listed."""

    created: list[Entry]
    changed: list[tuple[Entry, int]]
    gone: list[int]


def compare(entries: Sequence[Entry], known: Iterable[KnownRow], *, complete: bool) -> Difference:
    """Compare a listing with the rows of the replica; without ``complete`` nothing is concluded from silence."""
    rows: dict[str, KnownRow] = {}
    for row in known:
        if row[4] or row[0] not in rows:
            rows[row[0]] = row
    created: list[Entry] = []
    changed: list[tuple[Entry, int]] = []
    for entry in entries:
        found = rows.pop(entry[0], None)
        if found is None:
            created.append(entry)
        elif entry[1] != found[1] or _differs(entry[2], found[2]) or not found[4]:
            changed.append((entry, found[3]))
    gone = [row[3] for row in rows.values() if row[4]] if complete else []
    return Difference(created, changed, gone)


def _differs(mtime: int, known: int) -> bool:
    """Whether a file's mtime is another one than what could be written of it; most are the same at a glance."""
    return mtime != known and times.kept_micros(mtime) != known


class Candidate(NamedTuple):
    """A known file that a new one may be: ``active`` as the replica has it, ``gone`` when nothing is at its path,
    ``born`` when the *new* file was made (microseconds, None unknown). ``name`` is None where that of the new one says
    nothing: a file of that name was there before."""

    document_id: str
    name: str | None
    size: int
    mtime: int
    active: bool
    gone: bool
    born: int | None = None


def same_file(entry: Entry, candidate: Candidate) -> bool:
    """Whether a new file with a candidate's device and inode number is that file, moved.

    Inode numbers are given out again, so something else must speak for it: the same size and mtime, the same name, or
    that the file at the new path is older than what the candidate last contained.
    """
    if not candidate.gone:
        return False
    if entry.size == candidate.size and not _differs(entry.mtime, candidate.mtime):
        return True
    if not candidate.active:
        return False
    return entry.name == candidate.name or (candidate.born is not None and candidate.born <= candidate.mtime)


def is_as_known(entry: Entry, known: FileRow) -> bool:
    """Whether a file has the size and mtime of one that is known."""
    return known.status == "active" and entry.size == known.size and not _differs(entry.mtime, known.mtime)


def mime_type_of(name: str) -> str | None:
    """The MIME type of a file name, by its extension."""
    dot = name.rfind(".")
    if dot <= 0:
        return None
    extension = name[dot:].lower()
    if extension not in _mime_types:
        if len(_mime_types) > 10_000:  # names with random extensions must not fill the memory
            _mime_types.clear()
        guessed, encoding = mimetypes.guess_type(f"file{extension}", strict=False)
        _mime_types[extension] = guessed if encoding is None else _COMPRESSED.get(encoding)
    return _mime_types[extension]


def new_document(
    node_id: str, parent: str, entry: Entry, file_uuid: str, inode: int, mime_type: str | None, provider: str | None
) -> dict[str, Any]:
    """The first version of a file's document."""
    name = entry.name
    document: dict[str, Any] = {
        "_id": f"file::{node_id}::{file_uuid}",
        "type": "file",
        "inode": inode,
        "name": name,
        "source": {
            "node_id": node_id,
            "export_path": f"/{name}" if parent == "/" else f"{parent}/{name}",
            "export_parent": parent,
        },
        "size": entry.size,
        "mtime": times.format_time(entry.mtime),
        "status": "active",
    }
    mime_type = mime_type or mime_type_of(name)
    if mime_type is not None:
        document["mime_type"] = mime_type
    if provider is not None:
        document["provider"] = provider
    return document


def changed_document(
    document: Mapping[str, Any], size: int, mtime: int, mime_type: str | None = None
) -> dict[str, Any]:
    """The document of a file whose bytes changed, or that came back. Without ``mime_type`` it keeps the one it has."""
    changed = {**document, "size": size, "mtime": times.format_time(mtime), "status": "active"}
    for key in _OF_ONE_THAT_ENDED:
        changed.pop(key, None)
    if mime_type is not None:
        changed["mime_type"] = mime_type
    return changed


def moved_document(document: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The document of a file that is at ``path`` now. ``moved_from`` is the path where its labels still are: the first
    of several moves, and none once it is back there."""
    source = document["source"]
    moved = {
        **document,
        "name": paths.name_of(path),
        "source": {**source, "export_path": path, "export_parent": paths.parent_of(path)},
        "status": "active",
    }
    for key in _OF_ONE_THAT_ENDED:
        moved.pop(key, None)
    if moved.setdefault("moved_from", source["export_path"]) == path:
        del moved["moved_from"]
    mime_type = mime_type_of(moved["name"])
    if mime_type is not None:
        moved["mime_type"] = mime_type
    elif mime_type_of(document["name"]) == document.get("mime_type"):
        moved.pop("mime_type", None)
    return moved


def deleted_document(document: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The document of a file that is gone; it stays, so that its inode and id survive a file that comes back."""
    return {**document, "status": "deleted", "deleted_at": times.format_time(now)}


def ended_document(document: Mapping[str, Any], path: str, onto: str, now: int) -> dict[str, Any]:
    """The document of a file that was renamed onto the one at ``path``, whose document (its id is ``onto``) goes on
    there: it ends at that place, so that its labels follow and join those of the other, wherever that is by then."""
    return {**deleted_document(moved_document(document, path), now), "renamed_onto": onto}


def free_inodes(derived: Sequence[int], taken: Iterable[int]) -> tuple[list[int], set[int]]:
    """The inode of each of some new documents (the derived one, or the next that is free) and the positions of those
    that had to give way, where the caller must look whether the id itself is taken."""
    used = set(taken)
    inodes: list[int] = []
    gave_way: set[int] = set()
    for position, inode in enumerate(derived):
        if inode in used:
            gave_way.add(position)
            while inode in used:
                inode += 1
        used.add(inode)
        inodes.append(inode)
    return inodes, gave_way
