"""What the store hands out: plain frozen values."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import MosaicError
from ..hooks import FileRecord
from .rows import format_uuid


class BulkResult(NamedTuple):
    """The outcome of one document of a bulk write: ``rev`` of what was written, or ``error``."""

    id: str
    rev: str | None
    error: MosaicError | None = None


class Change(NamedTuple):
    """One document's latest change. ``revs`` are all leaves, the winner first; ``doc`` only when it was asked for.

    A ``quarantined`` document is to be replicated and otherwise ignored.
    """

    seq: int
    id: str
    revs: tuple[str, ...]
    deleted: bool
    type: str
    doc: dict[str, Any] | None = None
    quarantined: bool = False


class ChangeRow(NamedTuple):
    """A change as caches want it: by numbers, without the body. ``dir``, ``name`` and ``shown`` tell files apart."""

    seq: int
    doc: int
    type: str
    id: str
    deleted: bool
    shown: bool
    """An active, live, valid file."""
    status: str | None
    """Files: ``active``, ``deleted`` (a tombstone too) or ``quarantined``; None for other types."""
    node_id: str | None
    dir: int | None
    name: str | None
    size: int | None
    mtime: int | None
    mime_type: str | None
    inode: int
    quarantined: bool


class DirRow(NamedTuple):
    """A directory of a node that holds files. ``direct`` and ``below`` count shown files; ``parent`` is a ``dir``."""

    dir: int
    node_id: str
    parent: int | None
    path: str
    name: str
    direct: int
    below: int


class FileRow(NamedTuple):
    """A file as listings want it. ``parent`` is the path of its directory; ``mtime`` is microseconds."""

    doc: int
    dir: int
    node_id: str
    parent: str
    name: str
    size: int
    mtime: int
    inode: int
    mime_type: str | None
    status: str
    key: bytes | str
    """The uuid's 16 bytes, or the full id of one that is not in the usual form. Listings need its text too seldom."""

    @property
    def uuid(self) -> str:
        """The text after the node in the file's id."""
        return self.key.rpartition("::")[2] if isinstance(self.key, str) else format_uuid(self.key)

    @property
    def export_path(self) -> str:
        """The file's path on its node, in written form."""
        return self.parent + self.name if self.parent == "/" else f"{self.parent}/{self.name}"

    @property
    def file_id(self) -> str:
        """``{node_id}.{uuid}``."""
        return f"{self.node_id}.{self.uuid}"

    @property
    def document_id(self) -> str:
        """``file::{node_id}::{uuid}``."""
        return f"file::{self.node_id}::{self.uuid}"

    def record(self) -> FileRecord:
        """The file as plugins, content and the API see it."""
        return FileRecord(
            file_id=self.file_id,
            node_id=self.node_id,
            export_path=self.export_path,
            name=self.name,
            size=self.size,
            mtime=self.mtime,
            inode=self.inode,
            mime_type=self.mime_type,
            status=self.status,
        )


class FileBatch(NamedTuple):
    """Shown files in order of document number, by columns (all of the same length)."""

    docs: tuple[int, ...]
    dirs: tuple[int, ...]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    mtimes: tuple[int, ...]
    mimes: tuple[str | None, ...]


class Identity(NamedTuple):
    """What recognizes a file on its disk: see ``Reader.files_by_identity``."""

    device: int
    number: int
    fingerprint: str | None


class StoreInfo(NamedTuple):
    """Figures of a replica. ``types`` maps a type to ``{"live", "deleted", "quarantined"}``; ``files`` are those that
    listings show: documents of files that are gone are live as well."""

    instance_id: str
    update_seq: int
    types: dict[str, dict[str, int]]
    files: int
    conflicts: int
    quarantined: int
    bytes_on_disk: int

    @property
    def documents(self) -> dict[str, int]:
        """Live documents per type."""
        return {name: figures["live"] for name, figures in self.types.items() if figures["live"]}
