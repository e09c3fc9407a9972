"""What goes into the index: a file with its text, or word that a file is gone. Pure values."""

from __future__ import annotations

import zlib
from sys import getsizeof
from typing import Final, Literal, TypeAlias

import msgspec
import zstandard

from mosaicfs_core.hooks import FileRecord

Status: TypeAlias = Literal["text", "empty", "failed", "postponed"]

_LEVEL: Final = 1
"""It goes to the journal, where it stays for some seconds."""
_FORMER: Final = b"\x78"
"""What texts begin with in a journal of before, which zlib compressed."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="put"):
    """A file as the index has it. ``mtime`` is microseconds since the epoch.

    ``status`` is ``text`` (its text is indexed), ``empty`` (there is none in it, or it is of a kind without),
    ``failed`` (``reason`` says why its text could not be had) or ``postponed`` (it is read again later). It is found by
    its name in any case. ``packed`` is the text, compressed for the journal.
    """

    file_id: str
    node_id: str
    path: str
    name: str
    size: int
    mtime: int
    status: Status
    title: str = ""
    language: str = ""
    reason: str = ""
    packed: bytes = b""

    def text(self) -> str:
        """The text."""
        return unpack(self.packed)

    def record(self) -> FileRecord:
        """The file, as the host's methods want it."""
        return FileRecord(
            file_id=self.file_id,
            node_id=self.node_id,
            export_path=self.path,
            name=self.name,
            size=self.size,
            mtime=self.mtime,
            inode=0,
        )


class Removal(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="remove"):
    """A file that is gone."""

    file_id: str


Change: TypeAlias = Entry | Removal


def entry_of(
    file: FileRecord, status: Status, *, title: str = "", language: str = "", reason: str = "", packed: bytes = b""
) -> Entry:
    """The entry of a file."""
    return Entry(
        file_id=file.file_id,
        node_id=file.node_id,
        path=file.export_path,
        name=file.name,
        size=file.size,
        mtime=file.mtime,
        status=status,
        title=title,
        language=language,
        reason=reason,
        packed=packed,
    )


def bytes_of(change: Change, text: str | None) -> int:
    """What a change and its text take in memory: a character one, two or four bytes, by the widest in the text."""
    return getsizeof(text or "") + (len(change.packed) if isinstance(change, Entry) else 0)


def pack(text: str) -> bytes:
    """A text compressed in haste. Lone surrogates become question marks."""
    return zstandard.compress(text.encode("utf-8", "replace"), _LEVEL) if text else b""


def unpack(packed: bytes) -> str:
    """The text again."""
    if not packed:
        return ""
    return (zlib.decompress(packed) if packed.startswith(_FORMER) else zstandard.decompress(packed)).decode("utf-8")
