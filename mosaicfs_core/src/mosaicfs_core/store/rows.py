"""Between a document's body and the columns of its row.

A file's body is spread over columns only when putting it together again gives exactly the same body; otherwise the
whole of it goes to ``extra`` and the columns serve searches alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..documents.ids import is_near_inode, type_of_id
from ..documents.times import format_time, parse_canonical
from .revisions import decode, encode
from .schema import INACTIVE, OWN_INODE, QUARANTINED, TYPE_NAMES, TYPE_NUMBERS, WHOLE

COLUMNS = "doc, id_hash, type, node, key, seq, gen, rev, flags, shown, dir, name, size, mtime, mime, extra, tree"
QUALIFIED = ", ".join(f"documents.{name}" for name in COLUMNS.split(", "))

_PACKED = frozenset({"type", "inode", "name", "source", "size", "mtime", "mime_type", "status"})
_sha256 = hashlib.sha256
_usual_uuid = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_SOURCE = frozenset({"node_id", "export_path", "export_parent"})


class Numbers(Protocol):
    """Small numbers for texts that repeat; unknown ones are given a number."""

    def node(self, node_id: str) -> int: ...
    def mime(self, name: str) -> int: ...
    def directory(self, node_id: str, path: str) -> int: ...


class Names(Protocol):
    """The inverse of ``Numbers``."""

    def node_id(self, number: int) -> str: ...
    def mime_type(self, number: int) -> str: ...
    def directory_path(self, number: int) -> tuple[str, str]:
        """Node id and path."""


class FileParts(NamedTuple):
    """A live, valid file's columns before its texts have numbers: ``Facts`` without the database."""

    flags: int
    shown: int | None
    node_id: str
    parent: str
    name: str
    size: int
    mtime: int
    mime_type: str | None
    extra: bytes | None
    inode: int | None


class Facts(NamedTuple):
    """The columns that depend on the winning body alone. ``inode`` is one that differs from the derived inode."""

    flags: int
    shown: int | None
    dir: int | None
    name: str | None
    size: int | None
    mtime: int | None
    mime: int | None
    extra: bytes | None
    inode: int | None


def hash_of(identifier: str) -> int:
    """``documents.id_hash``."""
    return int.from_bytes(_sha256(identifier.encode("utf-8", "replace")).digest()[:8]) >> 1


def inode_of(id_hash: int) -> int:
    """The inode derived from an id, by its hash (``documents.ids.derived_inode``)."""
    inode = id_hash >> 10
    return inode if inode >= 1000 else inode + 1000


def near_inode(claimed: int, id_hash: int) -> int:
    """The inode of a file whose document names another than the derived one. What is too far off to be the next free
    one was chosen by its node, maybe because it is another file's: it counts for nothing."""
    derived = inode_of(id_hash)
    return claimed if is_near_inode(derived, claimed) else derived


def split_id(identifier: str) -> tuple[str, bytes] | None:
    """Node id and uuid of ``file::{node_id}::{uuid}`` in its usual form, else None."""
    if identifier[:6] != "file::" or len(identifier) < 45 or identifier[-38:-36] != "::":
        return None
    uuid = identifier[-36:]
    if _usual_uuid(uuid) is None:
        return None
    return identifier[6:-38], bytes.fromhex(uuid.replace("-", ""))


def format_uuid(key: bytes) -> str:
    """The usual text of a uuid's 16 bytes."""
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def type_column(identifier: str, body: dict[str, Any]) -> int | str:
    """``documents.type``: a number, or the name of a type this version does not know. A bare tombstone's is in its
    id."""
    name = body.get("type")
    if not isinstance(name, str):
        name = type_of_id(identifier) or ""
    return TYPE_NUMBERS.get(name, name)


def type_name(column: int | str) -> str:
    """The inverse of ``type_column``."""
    return column if isinstance(column, str) else TYPE_NAMES[column]


def file_parts(body: dict[str, Any], id_hash: int, encoded: Callable[[], bytes]) -> FileParts:
    """What a live, valid file's columns say. ``encoded`` gives its canonical JSON."""
    source, status, mime_type, inode, size = (
        body["source"],
        body.get("status", "active"),
        body.get("mime_type"),
        body["inode"],
        body["size"],
    )
    mtime = parse_canonical(body["mtime"])
    own_inode = None if inode == inode_of(id_hash) else inode
    flags, shown = (0, 1) if status == "active" else (INACTIVE, None)
    extra: bytes | None = None
    usual = type(size) is int and type(inode) is int and source.keys() == _SOURCE and "status" in body
    if not usual or (mime_type is None and "mime_type" in body) or (shown is None and status != "deleted"):
        flags |= WHOLE
        extra = encoded()
    elif own_inode is not None or not _PACKED.issuperset(body):
        rest = {key: value for key, value in body.items() if key not in _PACKED}
        if own_inode is not None:
            rest["inode"] = inode
        extra = encode(rest)
    if own_inode is not None:
        flags |= OWN_INODE
    node_id, parent = source["node_id"], source["export_parent"]
    return FileParts(flags, shown, node_id, parent, body["name"], size, mtime, mime_type, extra, own_inode)


def file_facts(parts: FileParts, numbers: Numbers) -> Facts:
    """The columns of a file."""
    flags, shown, node_id, parent, name, size, mtime, mime_type, extra, inode = parts
    mime = None if mime_type is None else numbers.mime(mime_type)
    return Facts(flags, shown, numbers.directory(node_id, parent), name, size, mtime, mime, extra, inode)


def other_facts(body: dict[str, Any], id_hash: int, deleted: bool, quarantined: bool, canonical: bytes) -> Facts:
    """The columns of everything else: other types, tombstones, and bodies that fail their schema."""
    inode = None
    if not (deleted or quarantined) and type(body.get("inode")) is int and body["inode"] != inode_of(id_hash):
        inode = body["inode"]
    flags = WHOLE | (QUARANTINED if quarantined else 0) | (0 if inode is None else OWN_INODE)
    return Facts(flags, None, None, None, None, None, None, canonical, inode)


def join_path(parent: str, name: str) -> str:
    """The path of ``name`` in the directory ``parent``."""
    return "/" + name if parent == "/" else f"{parent}/{name}"


def body_of(row: tuple[Any, ...], names: Names) -> dict[str, Any]:
    """The body of a row of ``COLUMNS``."""
    flags, extra = row[8], row[15]
    if flags & WHOLE:
        return decode(extra)
    node_id, parent = names.directory_path(row[10])
    name = row[11]
    body: dict[str, Any] = {
        "type": "file",
        "inode": inode_of(row[1]),
        "name": name,
        "source": {"node_id": node_id, "export_path": join_path(parent, name), "export_parent": parent},
        "size": row[12],
        "mtime": format_time(row[13]),
        "status": "deleted" if flags & INACTIVE else "active",
    }
    if row[14] is not None:
        body["mime_type"] = names.mime_type(row[14])
    if extra is not None:
        body.update(decode(extra))
    return body


def id_of(row: tuple[Any, ...], names: Names) -> str:
    """The ``_id`` of a row of ``COLUMNS``."""
    key = row[4]
    return key if isinstance(key, str) else f"file::{names.node_id(row[3])}::{format_uuid(key)}"
