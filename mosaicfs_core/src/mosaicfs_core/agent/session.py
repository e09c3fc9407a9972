"""One crawl, or one hand-over of a watcher: its operations become plans, and plans documents.

What is gone is held back until the end of the crawl, a checkpoint in it, or the end of a watcher's hand-over, because a
file that vanished at one path may turn up at another. Whatever another session wrote meanwhile is spared; and of what a
watcher spoke of while a crawl runs that crawl says nothing, because its listings may wait for long until they are
planned.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from mosaicfs_core.agent import plan
from mosaicfs_core.agent.indexer import ATTEMPTS, Indexer, Plan, Report
from mosaicfs_core.agent.named import Named
from mosaicfs_core.agent.planner import Planner, Source
from mosaicfs_core.agent.spoken import Spoken
from mosaicfs_core.documents import paths, times
from mosaicfs_core.errors import Conflict
from mosaicfs_core.hooks import (
    Checkpoint,
    Complete,
    CompleteDirectory,
    Create,
    Delete,
    Directory,
    Entry,
    FileOperation,
    Problem,
    Rename,
)
from mosaicfs_core.store import BulkResult, FileRow, Reader
from mosaicfs_core.store import crawl_queries as queries

logger = logging.getLogger(__name__)

BATCH: Final = 1_000
"""Documents in one transaction, at most."""
LARGE_DIRECTORY: Final = 5_000
"""A directory with more files is planned in parts."""


class Session:
    """One crawl, or one hand-over of a watcher (``live``). ``feed`` it, then ``finish``; leave it with ``close`` in any
    case."""

    def __init__(
        self,
        indexer: Indexer,
        source: Source,
        on_problem: Callable[[Problem], None],
        *,
        matching: bool,
        live: bool = False,
    ) -> None:
        self._indexer = indexer
        self._source = source
        self._on_problem = on_problem
        self._matching = matching
        self.live = live
        self.provider = source.provider
        self.spoken = Spoken()
        self.report = Report()
        self.spared: set[str] = set()
        self.failure: BaseException | None = None
        self._gone = array("q")
        self._gone_trees: list[str] = []
        self._named = Named()
        self._gone_again: set[int] = set()  # of a provider: all that is or was in ``_gone``
        self._moved: set[str] = set()
        indexer.sessions.add(self)

    def close(self) -> None:
        """Forget the session."""
        self._indexer.sessions.discard(self)

    def refuse(self, result: BulkResult) -> None:
        """Report a document that the store did not take."""
        logger.error("a file cannot be indexed: %s", result.error, extra={"file_id": result.id, "operation": "index"})
        self._problem(Problem(kind="unreadable", export_path="/", message=str(result.error)))

    async def feed(self, operations: Sequence[FileOperation]) -> None:
        """Take operations in. Returns when they are planned; the write of the last ones may still be under way."""
        if self.live:  # before they are planned: what a crawl has planned by then is seen, and mended
            self._indexer.heard(self.provider, operations)
        group: list[Directory | Create] = []
        weight = 0
        for operation in operations:
            if isinstance(operation, Problem):
                self._problem(operation)
            elif isinstance(operation, Directory) and len(operation.files) <= LARGE_DIRECTORY:
                group.append(operation)
                weight += len(operation.files)
            elif isinstance(operation, Create):
                group.append(operation)
                weight += 1
            else:
                await self._apply(group)
                group, weight = [], 0
                await self._special(operation)
            if weight >= BATCH:
                await self._apply(group)
                group, weight = [], 0
        await self._apply(group)

    async def finish(self) -> Report:
        """Delete what is gone and stayed away, so that all that was said is durable; more may follow."""
        await self.flush()
        for start in range(0, len(self._gone), BATCH):
            await self._delete_documents(self._gone[start : start + BATCH].tolist())
        for tree in await self._known_trees():
            position: tuple[str, str] | None = ("", "")
            while position is not None:
                position = await self._delete_page(tree, position)
        self._gone, self._gone_trees = array("q"), []
        return self.report

    async def flush(self) -> None:
        """Wait until what was fed is durable."""
        async with self._indexer.lock:
            await self._indexer.settled()
        self._check()

    def _check(self) -> None:
        """Raise what made a write of this session fail: what came after it must not be taken for complete."""
        if self.failure is not None:
            raise self.failure

    # Listings and single files.

    async def _apply(self, group: Sequence[Directory | Create]) -> None:
        if not group:
            return
        directories = [
            operation.export_path if isinstance(operation, Directory) else paths.parent_of(operation.export_path)
            for operation in group
        ]
        # Before planning: what is named in the same breath is no file that has moved away.
        for operation, directory in zip(group, directories, strict=True):
            if isinstance(operation, Directory):
                self.report.directories += 1
                self.report.seen += len(operation.files)
                self._named.whole(directory)
            else:
                self.report.seen += 1
                self._named.files(directory, (paths.name_of(operation.export_path),))
        await self._planned(lambda planner: _plan_group(planner, self.spoken.left(group)), directories)

    async def _planned(self, function: PlanFunction, directories: Sequence[str]) -> None:
        """Plan, and begin to write when the write before has ended."""
        indexer = self._indexer
        async with indexer.lock:
            # What is beneath a path goes with it, so a watcher must see whatever is written anywhere.
            if self.live or indexer.touches(directories):
                await indexer.settled()
            claimed = indexer.claimed
            found = await indexer.store.read(lambda reader: self._look(reader, function, claimed))
            if found.batch.documents:
                await indexer.start(self, found, directories, lambda reader: self._look(reader, function, frozenset()))
        self._check()
        self.report.created += found.batch.created
        self.report.changed += found.batch.changed
        self.report.moved += len(found.batch.moved)
        self._moved |= found.batch.moved
        self._gone.extend(found.gone)
        if not self._source.on_disk:
            self._gone_again.update(found.gone)
        self._gone_trees.extend(found.trees)

    def _look(self, reader: Reader, function: PlanFunction, claimed: Collection[str]) -> Plan:
        planner = Planner(reader, self._source, claimed, self._stands, matching=self._matching)
        gone, trees = function(planner)
        batch, prepare = planner.finish(gone), self._indexer.store.prepare
        parts = range(0, len(batch.documents), BATCH)
        return Plan(batch, [prepare(batch.documents[start : start + BATCH]) for start in parts], gone, trees)

    def _stands(self, row: FileRow) -> bool:
        """Whether this session has named a file where the replica has it. What was not named yet may have moved."""
        return row.doc not in self._gone_again and self._named.covers(row.export_path)

    # The other operations.

    async def _special(self, operation: FileOperation) -> None:
        match operation:
            case Directory():
                await self._large_directory(operation)
            case Delete():
                await self._planned(lambda planner: planner.gone_at(operation.export_path), ())
            case Rename():
                await self._rename(operation)
            case CompleteDirectory():
                path = operation.export_path
                named = self._named.whole(path)
                await self._planned(lambda planner: (planner.gone_from(path, named, None)[0], []), (path,))
            case Complete():
                await self._planned(lambda planner: (self._unnamed(planner, operation.prefix), []), ())
            case Checkpoint():
                await self.finish()

    async def _large_directory(self, operation: Directory) -> None:
        path, files = operation.export_path, operation.files
        names = {entry.name for entry in files}
        self._named.files(path, names)
        for start in range(0, len(files), LARGE_DIRECTORY):
            part = files[start : start + LARGE_DIRECTORY]
            await self._planned(partial(self._plan_part, path, part), (path,))
        await self._planned(lambda planner: planner.gone_from(path, names, set(operation.directories)), (path,))
        await self._planned(lambda planner: (planner.files_at([path]), []), ())
        self._named.whole(path)
        self.report.directories += 1
        self.report.seen += len(files)

    def _plan_part(self, path: str, files: Sequence[Entry], planner: Planner) -> tuple[list[int], list[str]]:
        return planner.named(path, self.spoken.files_left(path, files))

    def _unnamed(self, planner: Planner, prefix: str) -> list[int]:
        """Document numbers of files at ``prefix`` and beneath it that nobody named since the session began."""
        gone: list[int] = []
        for directory in planner.directories_under(prefix):
            if not self._named.is_whole(directory):
                gone += planner.gone_from(directory, self._named.names(directory), None)[0]
        return gone

    async def _rename(self, operation: Rename) -> None:
        source, target = operation.previous_export_path, operation.export_path
        await self.flush()
        if not operation.directory:
            row = await self._indexer.store.read(lambda reader: reader.file_by_path(self._source.node_id, source))
            if row is not None:
                await self._move([row], source, target)
            if row is not None or operation.directory is False:
                return
        position: tuple[str, str] | None = ("", "")
        while position is not None:
            rows, position = await self._page(source, position)
            await self._move(rows, source, target)

    async def _move(self, rows: Sequence[FileRow], source: str, target: str) -> None:
        """Give files beneath ``source`` (or at it) their places beneath ``target``. One whose new place is taken by
        another document ends there: that one is written anew by the listing of its directory."""

        def look(reader: Reader) -> list[dict[str, Any]]:
            documents = []
            for row in rows:
                path = target + row.export_path[len(source) :]
                document = reader.get(row.document_id)
                if (
                    document is None
                    or not self._source.owns(document)
                    or document["source"]["export_path"] != row.export_path
                ):
                    continue
                there = reader.file_by_path(self._source.node_id, path)
                if there is None:
                    documents.append(plan.moved_document(document, path))
                else:
                    documents.append(plan.ended_document(document, path, there.document_id, times.now_micros()))
            return documents

        documents = await self._written(look, moving=True)
        self._moved.update(document["_id"] for document in documents)
        self.report.moved += len(documents)

    # Deletions.

    async def _page(self, tree: str, after: tuple[str, str]) -> tuple[list[FileRow], tuple[str, str] | None]:
        node_id = self._source.node_id
        return await self._indexer.store.read(lambda reader: queries.files_under(reader, node_id, tree, after, BATCH))

    async def _known_trees(self) -> list[str]:
        """Those of the directories that are gone in which there is something to delete; most deletions are of files."""
        node_id, trees = self._source.node_id, self._gone_trees
        return await self._indexer.store.read(lambda reader: queries.trees_at(reader, node_id, trees)) if trees else []

    async def _delete_page(self, tree: str, after: tuple[str, str]) -> tuple[str, str] | None:
        rows, position = await self._page(tree, after)
        await self._delete_documents([row.doc for row in rows])
        return position

    async def _delete_documents(self, docs: Sequence[int]) -> None:
        def look(reader: Reader) -> list[dict[str, Any]]:
            now = times.now_micros()
            return [
                plan.deleted_document(document, now)
                for document in reader.documents(docs)
                if document["status"] == "active"
                and self._source.owns(document)
                and document["_id"] not in self.spared
                and document["_id"] not in self._moved
                and not self.spoken.covers(document["source"]["export_path"])
            ]

        self.report.deleted += len(await self._written(look))

    async def _written(
        self, look: Callable[[Reader], list[dict[str, Any]]], *, moving: bool = False
    ) -> list[dict[str, Any]]:
        """Write what ``look`` finds, looking again when a document changed meanwhile; returns what was written."""
        indexer = self._indexer
        async with indexer.lock:
            await indexer.settled()
            for attempt in range(ATTEMPTS):
                documents = await indexer.store.read(look)
                if not documents:
                    return []
                try:
                    prepared = await asyncio.to_thread(indexer.store.prepare, documents)
                    moved = {document["_id"] for document in documents} if moving else ()
                    await indexer.write(self, prepared, moved=moved)
                except Conflict:
                    if attempt == ATTEMPTS - 1:
                        raise
                else:
                    return documents
        return []

    def _problem(self, problem: Problem) -> None:
        if not problem.resolved:
            self.report.problems[problem.kind] = self.report.problems.get(problem.kind, 0) + problem.count
        self._on_problem(problem)


PlanFunction: TypeAlias = Callable[[Planner], tuple[Sequence[int], Sequence[str]]]


def _plan_group(planner: Planner, group: Sequence[Directory | Create]) -> tuple[list[int], list[str]]:
    listings = [operation for operation in group if isinstance(operation, Directory)]
    gone = planner.files_at([listing.export_path for listing in listings])
    trees: list[str] = []
    for listing in listings:
        files, directories = planner.directory(listing.export_path, listing.files, listing.directories)
        gone += files
        trees += directories
    creates = [operation for operation in group if isinstance(operation, Create)]
    if creates:
        planner.creates(creates)
        trees += planner.trees_at([operation.export_path for operation in creates])
    return gone, trees
