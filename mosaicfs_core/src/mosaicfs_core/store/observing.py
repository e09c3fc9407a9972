"""The seam for what must happen in the transaction that writes a file: an observer sees every file document written,
whoever writes it and whichever way it came, and may execute statements and put documents before it is committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .rows import FileParts, Names
from .schema import INACTIVE, WHOLE

if TYPE_CHECKING:
    from .transaction import WriteTransaction


class FileWrite(NamedTuple):
    """A file document that was written: its number, and what it said before and says now.

    None stands for what is no live, valid file: absent, a tombstone, in quarantine. A write that leaves the winning
    revision as it is, is none; one that replaces it by the same once more has parts that are equal. ``new``: the
    replica had no document of this id at all.
    """

    doc: int
    before: FileParts | None
    after: FileParts | None
    new: bool = False


class Observer(Protocol):
    """Called in the writer's thread. What it raises undoes the write."""

    def files_written(self, tx: WriteTransaction, writes: Sequence[FileWrite]) -> None:
        """These were written, each once; the replica shows them so already."""

    def committed(self) -> None:
        """A transaction that wrote documents is durable."""


def parts_of_row(row: tuple[Any, ...] | None, names: Names) -> FileParts | None:
    """The facts of a row of ``rows.COLUMNS``; None when it is no live, valid file."""
    if row is None or row[10] is None:
        return None
    node_id, parent = names.directory_path(row[10])
    mime_type = None if row[14] is None else names.mime_type(row[14])
    flags = row[8] & (INACTIVE | WHOLE)
    return FileParts(flags, row[9], node_id, parent, row[11], row[12], row[13], mime_type, row[15], None)
