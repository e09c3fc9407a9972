"""A node with real folders: ``node.settled(condition)`` waits for what the agent makes of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import config
from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.indexer import Indexer
from mosaicfs_core.agent.planner import Source
from mosaicfs_core.agent.session import Session
from mosaicfs_core.content import Content, LocalTier
from mosaicfs_core.documents import paths
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import FileOperation
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.instances import default_document
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.store import FileRow, Store
from mosaicfs_core.testing.harness import Harness

PATIENCE_S = 15.0


class Node:
    """An agent over ``tree`` (``start`` and ``stop`` it), and what its replica says."""

    def __init__(self, core: CoreServices, tree: Path) -> None:
        self.core = core
        self.tree = tree
        self.agent = Agent(core)
        self._running = False

    async def configure(self, **settings: Any) -> None:
        """Settings of localfs, over ``{"paths": [tree], "watch": False}``."""
        document = default_document(self.core.node_id, self.core.host.get("localfs"))
        whole = {"paths": [os.fspath(self.tree)], "watch": False, **settings}
        await self.core.store.update(document["_id"], lambda present: {**(present or document), "settings": whole})

    async def start(self) -> None:
        """Start a new agent and wait for its first crawl."""
        self.agent = Agent(self.core)
        self.core.agent = self.agent
        self.core.content = Content([LocalTier(self.core.node_id, self.agent.roots, self.agent.reindex)])
        await self.agent.__aenter__()
        self._running = True
        async with asyncio.timeout(PATIENCE_S):
            await self.agent.first_crawl_done.wait()

    async def stop(self) -> None:
        """Stop the agent."""
        if self._running:
            self._running = False
            await self.agent.__aexit__(None, None, None)

    async def crawl(self, **request: Any) -> Any:
        """A crawl's report."""
        return (await self.agent.crawl("localfs", **request))["localfs"]

    def rows(self) -> dict[str, FileRow]:
        """Active files by path relative to the tree."""
        reader = self.core.store.reader
        docs = [doc for batch in reader.scan_files() for doc in batch.docs]
        root = paths.escape(os.fsencode(self.tree))
        return {row.export_path[len(root) + 1 :]: row for row in reader.file_rows(docs)}

    def on_disk(self) -> dict[str, tuple[int, int]]:
        """Size and mtime of what ``os.walk`` finds, by written relative path."""
        found = {}
        root = os.fsencode(self.tree)
        for directory, _, names in os.walk(root):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    facts = os.lstat(path)
                    found[paths.escape(path[len(root) + 1 :])] = (facts.st_size, facts.st_mtime_ns // 1000)
        return found

    def agrees(self) -> bool:
        """Whether the replica holds exactly what is on disk."""
        return {path: (row.size, row.mtime) for path, row in self.rows().items()} == self.on_disk()

    async def settled(self, condition: Callable[[], bool | Awaitable[bool]], within: float = PATIENCE_S) -> None:
        """Wait until the condition holds, looking after every commit."""
        async with asyncio.timeout(within):
            while True:
                seq = self.core.store.seq
                met = condition()
                if met if isinstance(met, bool) else await met:
                    return
                await self.core.store.wait(seq, 0.2)


class Sources:
    """Says things in the name of different instances, and what is indexed then."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._indexer = Indexer(harness.store)
        self._folders: dict[str, tuple[str, ...]] = {}

    def watch(self, instance: str, *folders: str) -> None:
        """Let an instance watch these folders, from now on and none but these."""
        self._folders[instance] = folders

    async def say(self, instance: str, *operations: FileOperation) -> None:
        """One whole session of an instance that watches folders, of ``the disk`` that has none, or of one that provides
        a filesystem."""
        provider = None if instance == "the disk" or instance in self._folders else instance
        source = Source(
            node_id=self._harness.core.node_id,
            instance=instance,
            on_disk=provider is None,
            provider=provider,
            places=lambda: self._places(instance),
        )
        session = Session(self._indexer, source, lambda problem: None, matching=True)
        try:
            await session.feed(operations)
            await session.finish()
        finally:
            session.close()

    def _places(self, instance: str) -> Places:
        others = [folder for name, folders in self._folders.items() if name != instance for folder in folders]
        return Places(self._folders.get(instance, ()), tuple(others))

    def files(self) -> dict[str, str]:
        """The uuids of what is shown, by path."""
        reader = self._harness.store.reader
        docs = [doc for batch in reader.scan_files() for doc in batch.docs]
        return {row.export_path: row.uuid for row in reader.file_rows(docs)}

    def document(self, path: str) -> dict[str, Any]:
        """The document of the file at a path."""
        reader = self._harness.store.reader
        row = reader.file_by_path(self._harness.core.node_id, path)
        assert row is not None
        document = reader.get(row.document_id)
        assert document is not None
        return document


@asynccontextmanager
async def _node(home: Path, tree: Path) -> AsyncIterator[Node]:
    tree.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        where = Home(home).prepare()
        store = await Store.open(where.replica)
        stack.push_async_callback(store.close)
        host = PluginHost.discover(only={"localfs"})
        core = CoreServices(where, config.load(where.config_file, {}), store, Content([]), host, where.node_id("test"))
        node = Node(core, tree)
        await node.configure()
        stack.push_async_callback(node.stop)
        yield node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node that crawls ``tmp_path/tree``, not started yet, not watching."""
    async with _node(tmp_path / "home", tmp_path / "tree") as made:
        yield made


@pytest.fixture
def make_node() -> Callable[[Path, Path], Any]:
    """``async with make_node(home, tree) as node``."""
    return _node


@pytest.fixture
async def sources(tmp_path: Path) -> AsyncIterator[Sources]:
    """Nobody has said anything yet."""
    async with Harness.start(tmp_path / "home", plugins=[]) as harness:
        yield Sources(harness)


@pytest.fixture
def write() -> Callable[[Path, Mapping[str, str]], None]:
    """Write files, by relative path, with their directories."""

    def make(root: Path, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

    return make
