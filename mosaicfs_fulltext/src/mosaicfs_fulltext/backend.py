"""What holds the index: the embedded one or a server's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from mosaicfs_core.hooks import Fragment
from mosaicfs_fulltext.entries import Change, Entry


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a search found."""

    file_id: str
    score: float
    fragments: tuple[Fragment, ...] = ()
    title: str = ""
    language: str = ""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of an index. ``committed_at`` is seconds since the epoch of the last commit, None before the first.
    ``waiting`` changes are safe and not yet to be found."""

    documents: int
    with_text: int
    failed: int
    postponed: int
    size: int | None = None
    committed_at: float | None = None
    waiting: int = 0


class Backend(Protocol):
    """An index. What cannot be done at present raises ``Unavailable``; the host asks again."""

    @property
    def broken(self) -> bool:
        """Whether it broke down; it must be closed and another one opened."""

    @property
    def trouble(self) -> str | None:
        """Why changes are not taken at present, a sentence without a full stop; None when they are, or none came."""

    async def apply(self, change: Change, text: str | None = None) -> None:
        """Take a change; returns once a kill cannot undo it. Changes of one file must follow one another."""

    async def flush(self) -> None:
        """Return once everything that was taken is to be found."""

    def expect_many(self, many: bool) -> None:
        """Whether many changes are about to come (a full sync), so that fewer commits do. Plain function."""

    async def search(self, text: str, limit: int, seconds: float) -> list[Result]:
        """The best files for what somebody wrote, best first, within so many seconds."""

    async def known(self, file_ids: Sequence[str]) -> dict[str, Entry]:
        """What the index has of these files, without their texts."""

    async def entry(self, file_id: str) -> Entry | None:
        """What the index has of a file, with its text."""

    async def of_status(self, status: str, limit: int) -> list[Entry]:
        """Some files of a status, without their texts."""

    async def stats(self) -> Stats:
        """Figures."""

    async def close(self) -> None:
        """Let go of everything."""
