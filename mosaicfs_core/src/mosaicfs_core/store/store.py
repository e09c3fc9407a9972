"""The embedded store: documents with CouchDB's data model in one SQLite file, for one process that writes.

Writes go through one writer thread and are durable when they return. Point reads run on the calling loop's thread (they
take microseconds); whatever may take longer runs in a worker thread with a connection of its own, through ``read``.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..documents import validate as validate_document
from ..errors import NotFound, Unavailable, UserError
from . import exchange, maintenance, ordered, schema
from .changes import Signal, follow
from .failures import open_error, reads
from .find import find as find_documents
from .intake import Prepared, prepare
from .observing import Observer
from .reader import Reader
from .records import BulkResult, Change, StoreInfo
from .transaction import Session, WriteTransaction
from .writer import Writer

T = TypeVar("T")
READ_THREADS = 3
INTAKE = 250
"""Documents of a bulk write that are prepared together: the next ones are, while the writer is at these."""


class Store:
    """A replica. Open it with ``Store.open``, close it with ``close``."""

    def __init__(self, path: Path, session: Session) -> None:
        self.path = path
        self._validate = session.validate
        self._signal = Signal(session.seq)
        self._session = session
        self._writer = Writer(session, self._committed)
        self.reader = Reader.open(path)
        """For point reads on the loop's thread."""
        self._local = threading.local()
        self._readers: list[Reader] = []
        self._readers_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="store-reader")
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="store-sweeper")
        self._intake = ThreadPoolExecutor(1, thread_name_prefix="store-intake")
        self.instance_id: str = self.reader.meta("instance_id")

    @classmethod
    async def open(cls, path: Path, *, validate: Callable[[Mapping[str, Any]], None] = validate_document) -> Store:
        """Open the replica at ``path``, which is created when it is absent (its directory must exist).

        ``validate`` raises InvalidDocument for a document that fails its schema. Two processes must not open one file
        for writing: the lock of the home sees to that. Raises ``Unavailable`` when it cannot be read or is damaged.
        """
        try:
            return cls(path, await asyncio.to_thread(_prepare, path, validate))
        except sqlite3.Error as error:
            raise open_error(error, path)  # noqa: B904 - it has its cause

    async def close(self) -> None:
        """Finish the writes under way, end the live feeds, close the file."""
        self._signal.close()
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._intake.shutdown)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._sweeper.shutdown)
        for reader in (self.reader, *self._readers):
            reader.close()
        self._readers.clear()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def observe(self, observer: Observer | None) -> None:
        """Have an observer see every file document that is written from here on, inside the transaction that writes it;
        None: nobody. There is one at most."""
        await self.transaction(lambda tx: tx.observe(observer))

    def _committed(self, seq: int) -> None:
        """Called in the writer's thread after a commit that wrote documents."""
        self._signal.committed(seq)
        if self._session.observer is not None:
            self._session.observer.committed()

    # Reading

    @reads
    async def read(self, function: Callable[[Reader], T]) -> T:
        """Run a function over a ``Reader`` in a worker thread."""
        return await self._read_in(self._threads, function)

    @reads
    async def sweep(self, function: Callable[[Reader], T]) -> T:
        """``read`` for what a stranger may make go through many documents: in one thread for all such reads, which
        wait for one another and hold up nobody else."""
        return await self._read_in(self._sweeper, function)

    async def _read_in(self, threads: ThreadPoolExecutor, function: Callable[[Reader], T]) -> T:
        try:
            reading = asyncio.get_running_loop().run_in_executor(threads, self._with_reader, function)
        except RuntimeError:  # the threads were shut down
            raise Unavailable("The store is closed.") from None
        return await reading

    def _with_reader(self, function: Callable[[Reader], T]) -> T:
        reader = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = Reader.open(self.path)
            with self._readers_lock:
                self._readers.append(reader)
        return function(reader)

    @reads
    async def get(
        self, identifier: str, *, rev: str | None = None, conflicts: bool = False, revs: bool = False
    ) -> dict[str, Any] | None:
        """A document, or None when it does not exist, is deleted or in quarantine.

        ``rev`` names a leaf instead of the winner, a deleted one too. ``conflicts`` adds ``_conflicts``, ``revs`` adds
        ``_revisions``.
        """
        reader = self.reader
        document = reader.get(identifier) if rev is None else reader.get_revision(identifier, rev)
        if document is None:
            return None
        if conflicts and (losers := reader.conflicts(identifier)):
            document["_conflicts"] = losers
        if revs:
            document["_revisions"] = reader.revisions(identifier, document["_rev"])
        return document

    @reads
    async def open_revs(
        self, identifier: str, revs: Sequence[str] | None = None, *, latest: bool = False
    ) -> list[dict[str, Any]]:
        """Leaves with ``_revisions``, all of them when ``revs`` is None; ``{"missing": rev}`` for what is not at hand.

        ``latest`` answers a superseded revision with the leaves that came of it.
        """
        return exchange.open_revs(self.reader, identifier, revs, latest=latest)

    @reads
    async def get_many(self, identifiers: Iterable[str]) -> list[dict[str, Any] | None]:
        """``get`` of each, in order."""
        return self.reader.get_many(identifiers)

    async def bulk_get(
        self, wanted: Sequence[Mapping[str, str]], *, revs: bool = True, latest: bool = False
    ) -> list[dict[str, Any]]:
        """For each ``{"id", "rev"?}``: ``{"id", "docs": [{"ok": document} | {"error": {…}}]}``."""

        return await self.read(lambda reader: exchange.bulk_get(reader, wanted, revs=revs, latest=latest))

    async def all_docs(self, *, start: str = "", end: str | None = None, limit: int = 1000) -> list[tuple[str, str]]:
        """Id and revision of live documents with ``start <= id <= end``, in raw order of ids.

        The first call makes an index (about a second at 500,000 documents).
        """
        await self.order_ids()
        return await self.read(lambda reader: reader.all_ids(start=start, end=end, limit=limit))

    async def order_ids(self) -> None:
        """Make the index that reading in order of ids needs, unless it is there."""
        sql = "SELECT 1 FROM sqlite_master WHERE name = 'documents_by_id'"
        if not await self.read(lambda reader: reader.has(sql)):
            await self.transaction(lambda tx: tx.execute(ordered.INDEX) and None)

    async def find(self, selector: Mapping[str, Any], *, limit: int = 25, skip: int = 0) -> list[dict[str, Any]]:
        """Live documents that match a selector (see ``selector``), by an index when it names a type or an id."""
        return await self.read(lambda reader: find_documents(reader, selector, limit, skip).documents)

    async def revs_diff(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
        """``{id: {"missing": [rev], "possible_ancestors": [rev]}}`` for what this replica does not have."""

        return await self.read(lambda reader: exchange.revs_diff(reader.entries(wanted), wanted))

    @reads
    async def conflicts(self, identifier: str) -> list[str]:
        """The live leaves of a document that lost."""
        return self.reader.conflicts(identifier)

    async def info(self) -> StoreInfo:
        """Figures of the replica."""
        return await self.read(lambda reader: reader.info())

    @property
    def writable(self) -> bool:
        """Whether it takes writes: not once it is closed, or an unforeseen error has stopped the writer."""
        return not self._writer.stopped

    @property
    def failure(self) -> str | None:
        """What SQLite said of a write that lately failed because its disk was full or failing, None when none did."""
        return self._writer.failure

    @property
    def closed(self) -> bool:
        """Whether it was closed: live feeds end."""
        return self._signal.closed

    @property
    def seq(self) -> int:
        """The update sequence as far as this loop has been told."""
        return self._signal.seq

    async def changes(
        self,
        since: int = 0,
        *,
        live: bool = False,
        limit: int | None = None,
        include_docs: bool = False,
        selector: Mapping[str, Any] | None = None,
        types: Collection[str] | None = None,
    ) -> AsyncIterator[Change]:
        """Changes after ``since``, each document once, oldest first; with ``live`` it goes on until the store
        closes."""
        feed = follow(
            self.read,
            self._signal,
            since=since,
            live=live,
            limit=limit,
            include_docs=include_docs,
            selector=selector,
            types=types,
            heartbeat=None,
        )
        async for change in feed:
            if change is not None:
                yield change

    def changes_with_heartbeat(
        self,
        since: int = 0,
        *,
        heartbeat: float,
        limit: int | None = None,
        include_docs: bool = False,
        selector: Mapping[str, Any] | None = None,
        types: Collection[str] | None = None,
    ) -> AsyncIterator[Change | None]:
        """``changes`` with ``live``, and None whenever ``heartbeat`` seconds have passed without one."""
        return follow(
            self.read,
            self._signal,
            since=since,
            live=True,
            limit=limit,
            include_docs=include_docs,
            selector=selector,
            types=types,
            heartbeat=heartbeat,
        )

    async def wait(self, after: int, timeout: float | None = None) -> bool:
        """Until the update sequence is above ``after``; False when ``timeout`` seconds passed before."""
        return await self._signal.wait(after, timeout)

    # Writing

    async def transaction(self, function: Callable[[WriteTransaction], T]) -> T:
        """Run a plain function in the writer's thread, in one transaction; durable when this returns.

        If the function raises, nothing that it did remains and the error is raised here.
        """
        value: T = await self._writer.submit(function)
        return value

    async def put(self, document: Mapping[str, Any]) -> str:
        """Write one document; returns its new revision. Raises InvalidDocument, Conflict or Stale."""
        return await self.transaction(lambda tx: tx.put(document))

    async def update(
        self, identifier: str, function: Callable[[dict[str, Any] | None], Mapping[str, Any] | None]
    ) -> dict[str, Any] | None:
        """Replace a document by what a plain function makes of it (None: leave it). Returns it as it is then."""
        return await self.transaction(lambda tx: tx.update(identifier, function))

    async def bulk(self, documents: Iterable[Mapping[str, Any]], *, new_edits: bool = True) -> list[BulkResult]:
        """Write many documents in one transaction; one that cannot be written does not hinder the others."""
        given = list(documents)
        parts = [given[start : start + INTAKE] for start in range(0, len(given), INTAKE)]
        try:
            prepared = [self._intake.submit(self.prepare, part, new_edits=new_edits) for part in parts]
        except RuntimeError:  # it was shut down
            raise Unavailable("The store is closed.") from None

        def write(tx: WriteTransaction) -> list[BulkResult]:
            return [result for part in prepared for result in tx.write(part.result())]

        return await self.transaction(write)

    def prepare(self, documents: Iterable[Mapping[str, Any]], *, new_edits: bool = True) -> Prepared:
        """Check documents and take them apart, for ``WriteTransaction.write``: most of the work of a write, which a
        thread can do for one batch while the writer is at the one before."""
        return prepare(documents, self._validate, new_edits=new_edits)

    @reads
    async def local_get(self, name: str) -> dict[str, Any] | None:
        """A ``_local`` document by its name, or None."""
        return self.reader.local_get(name)

    async def local_put(self, name: str, document: Mapping[str, Any]) -> str:
        """Write a ``_local`` document, naming the ``_rev`` it replaces; returns the new one. Raises Stale."""
        return await self.transaction(lambda tx: maintenance.local_put(tx, name, document))

    async def local_delete(self, name: str, rev: str) -> None:
        """Remove a ``_local`` document. Raises Stale."""
        await self.transaction(lambda tx: maintenance.local_delete(tx, name, rev))

    async def compact(self) -> None:
        """Prune revision trees to the limit, merge the name index, return free pages to the disk."""
        await maintenance.compact(self)

    async def vacuum(self) -> None:
        """Rewrite the file without its free pages when they are many, and empty the write-ahead log."""
        await self._writer.alone(maintenance.vacuum)

    async def set_revs_limit(self, limit: int) -> None:
        """How many revisions of each branch are remembered (at least 1; 1,000 unless told)."""
        if limit < 1:
            raise UserError("revs_limit: expected at least 1", field="revs_limit")
        await self.transaction(lambda tx: tx.set_revs_limit(limit))


def _prepare(path: Path, validate: Callable[[Mapping[str, Any]], None]) -> Session:
    if not path.parent.is_dir():
        raise NotFound(f"The directory {path.parent} does not exist.")
    _make_private(path)
    connection = schema.connect(path, cache_kib=schema.WRITER_CACHE_KIB)
    try:
        schema.prepare(connection)
        return Session(connection, validate)
    except BaseException:
        connection.close()
        raise


def _make_private(path: Path) -> None:
    """Let the file, and what SQLite puts beside it with the same mode, be its owner's alone. What cannot be is told by
    SQLite, which opens it next."""
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(OSError):
            file.chmod(0o600)
