"""What the crawls and watchers of one node share when they write: one plan at a time, one write under way at most.

Operations are planned in a worker thread (``session``), written in the store's, and read on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mosaicfs_core.agent.planner import Batch
from mosaicfs_core.errors import Conflict
from mosaicfs_core.hooks import FileOperation
from mosaicfs_core.store import BulkResult, Prepared, Reader, Store, WriteTransaction

if TYPE_CHECKING:
    from mosaicfs_core.agent.session import Session

ATTEMPTS: Final = 3


class Report(msgspec.Struct):
    """What a session did so far. ``seen`` counts named files, ``written`` documents."""

    seen: int = 0
    directories: int = 0
    created: int = 0
    changed: int = 0
    moved: int = 0
    deleted: int = 0
    written: int = 0
    problems: dict[str, int] = {}


class Plan(msgspec.Struct):
    """What a look at the replica came to: the batch and its documents made ready to be written, by the thousand.
    ``gone`` are document numbers, ``trees`` paths of directories."""

    batch: Batch
    writes: Sequence[Prepared] = ()
    gone: Sequence[int] = ()
    trees: Sequence[str] = ()


class Indexer:
    """Shared by the sessions of one node: one plan at a time, and one write under way at most."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lock = asyncio.Lock()
        self.sessions: set[Session] = set()
        self._writing: asyncio.Task[None] | None = None
        self._writer: Session | None = None
        self._busy: Batch | None = None
        self._busy_directories: frozenset[str] = frozenset()

    @property
    def claimed(self) -> set[str]:
        """Document ids that the write under way gives to other paths."""
        return self._busy.moved if self._busy is not None else set()

    def heard(self, provider: str | None, operations: Sequence[FileOperation]) -> None:
        """Tell the crawls that run of the same files what a watcher says: those of the disk, or of one provider."""
        for session in self.sessions:
            if not session.live and session.provider == provider:
                session.spoken.note(operations)

    def touches(self, directories: Iterable[str]) -> bool:
        """Whether the write under way changes one of these directories."""
        return not self._busy_directories.isdisjoint(directories)

    async def start(
        self, session: Session, found: Plan, directories: Iterable[str], again: Callable[[Reader], Plan]
    ) -> None:
        """Begin to write, once the write before has ended. ``again`` plans anew should a document change meanwhile."""
        await self.settled()
        self._writer, self._busy, self._busy_directories = session, found.batch, frozenset(directories)
        self._writing = asyncio.ensure_future(self._write(session, found, again))
        # A session that fails before it asks for the outcome has told enough.
        self._writing.add_done_callback(lambda task: None if task.cancelled() else task.exception() and None)

    async def settled(self) -> None:
        """Wait for the write under way. What made it fail is raised in the session that began it."""
        task, writer = self._writing, self._writer
        if task is not None:
            await asyncio.wait([task])
            self._writing, self._writer, self._busy, self._busy_directories = None, None, None, frozenset()
            if writer is not None and not task.cancelled():
                writer.failure = writer.failure or task.exception()

    async def _write(self, session: Session, found: Plan, again: Callable[[Reader], Plan]) -> None:
        for attempt in range(ATTEMPTS):
            try:
                for prepared in found.writes:
                    await self.write(session, prepared, found.batch.identities, found.batch.moved)
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
                found = await self.store.read(again)
            else:
                return

    async def write(
        self, session: Session, prepared: Prepared, identities: Sequence[Any] = (), moved: Collection[str] = ()
    ) -> None:
        """Write documents with their identities in one transaction; ``moved`` are ids of those that have another path.
        Raises ``Conflict`` when one changed meanwhile."""
        wanted = {item.id for item in prepared.items}
        noted = [row for row in identities if row[0] in wanted] if len(identities) > len(prepared.items) else identities
        results = await self.store.transaction(lambda tx: _write(tx, prepared, noted))
        for other in self.sessions:
            if other is not session:
                # A crawl's word on a file where it is counts less than that of a watcher who finds it gone.
                other.spared.update(wanted.intersection(moved) if other.live and not session.live else wanted)
        failed = [result for result in results if result.error is not None]
        session.report.written += len(results) - len(failed)
        for result in failed:
            if not isinstance(result.error, Conflict):
                session.refuse(result)
        if any(isinstance(result.error, Conflict) for result in failed):
            raise Conflict("documents changed while they were being indexed")


def _write(tx: WriteTransaction, prepared: Prepared, identities: Sequence[Any]) -> list[BulkResult]:
    results = tx.write(prepared)
    refused = {result.id for result in results if result.error is not None}
    tx.set_identities([row for row in identities if row[0] not in refused] if refused else identities)
    return results
