"""A throw-away MosaicFS for tests: home, store, content and plugin host, and contexts of instances made on demand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from importlib_metadata import EntryPoint

from mosaicfs_core import config
from mosaicfs_core.agent import Agent
from mosaicfs_core.config import CacheConfig
from mosaicfs_core.content.assembly import node_content
from mosaicfs_core.content.cache import Cache
from mosaicfs_core.content.content import Content
from mosaicfs_core.content.routes import Routes
from mosaicfs_core.documents import ids, paths, times
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import ENTRY_POINT_GROUP, CrawlRequest, FileRecord
from mosaicfs_core.plugins.context import CoreServices, InstanceContext
from mosaicfs_core.plugins.environments import plugins_elsewhere
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.instances import Instances, default_document
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.store import Store
from mosaicfs_core.testing.model import CrawlModel

STALL_S: Final = 10.0


def plugin_at(name: str, value: str) -> EntryPoint:
    """An entry point for a plugin that is not installed: ``plugin_at("hello", "hello_plugin")``."""
    return EntryPoint(name=name, value=value, group=ENTRY_POINT_GROUP)


class Harness:
    """What runs: ``core`` with its services, ``instances``, and the ``cache`` of other nodes' files. Made by
    ``Harness.start``."""

    def __init__(self, core: CoreServices, instances: Instances, cache: Cache) -> None:
        self.core = core
        self.instances = instances
        self.cache = cache

    @property
    def home(self) -> Home:
        """The throw-away home."""
        return self.core.home

    @property
    def store(self) -> Store:
        """Its store."""
        return self.core.store

    @property
    def host(self) -> PluginHost:
        """Its plugin host."""
        return self.core.host

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        path: Path,
        *,
        plugins: Sequence[EntryPoint] | None = None,
        only: Collection[str] | None = None,
        disabled: Collection[str] = (),
        safe_mode: bool = False,
        routes: Routes = lambda node_id: (),
        cache: CacheConfig | None = None,
    ) -> AsyncIterator[Harness]:
        """Start in the directory ``path``; ``plugins`` replaces the installed ones, ``only`` limits them by name.

        ``routes`` are the ways to other nodes' files (none), ``cache`` are the limits of what is kept of those.
        """
        home = Home(path).prepare()
        elsewhere = await asyncio.to_thread(plugins_elsewhere, home, disabled, safe_mode)
        host = PluginHost.discover(disabled, safe_mode, only=only, entry_points=plugins, elsewhere=elsewhere)
        store = await Store.open(home.replica)
        try:
            node_id = home.node_id("test")
            core = CoreServices(home, config.load(home.config_file, {}), store, Content([]), host, node_id)
            async with node_content(
                home, store, node_id, cache or core.config.cache, roots=lambda: (b"/",), routes=routes
            ) as made:
                core.content = made.content
                yield cls(core, Instances(core), made.cache)
        finally:
            await store.close()

    async def instance(self, plugin: str, settings: Mapping[str, Any] | None = None) -> InstanceContext:
        """The context of an instance of a plugin, named as the plugin, its document written with these settings."""
        document = default_document(self.core.node_id, self.host.get(plugin), settings or {})

        def write(present: dict[str, Any] | None) -> dict[str, Any]:
            return {**(present or document), "settings": dict(settings or {})}

        await self.store.update(document["_id"], write)
        return (await self.instances.refresh())[plugin].context

    async def index(self, path: Path, mime_type: str | None = None) -> FileRecord:
        """Index a file on this machine, as a crawl would, and return what the index knows of it."""
        written, facts = paths.escape(os.fsencode(path)), await asyncio.to_thread(os.stat, path)
        uuid = ids.first_file_uuid(self.core.node_id, written)
        identifier = ids.file_document_id(self.core.node_id, uuid)
        document: dict[str, Any] = {
            "type": "file",
            "inode": ids.derived_inode(identifier),
            "name": paths.name_of(written),
            "source": {
                "node_id": self.core.node_id,
                "export_path": written,
                "export_parent": paths.parent_of(written),
            },
            "size": facts.st_size,
            "mtime": times.format_time(facts.st_mtime_ns // 1000),
            "status": "active",
        }
        if mime_type is not None:
            document["mime_type"] = mime_type
        await self.store.update(identifier, lambda _present: document)
        row = self.store.reader.file_by_id(ids.short_file_id(identifier))
        assert row is not None
        return row.record()

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        """The agent over this home, running around a block: it crawls and watches what instances there are, those that
        packages ask for by default among them."""
        await self.instances.ensure_defaults()
        agent = Agent(self.core)
        self.core.agent = agent
        async with agent:
            yield agent

    async def crawl(self, plugin: str, context: InstanceContext, model: CrawlModel, *, full: bool = False) -> None:
        """Run a crawl of a plugin to its end and apply it to ``model``. Raises ``PluginError``."""
        model.begin()
        request = CrawlRequest(trigger="manual", full=full)
        hook = "mosaicfs_crawl"
        async with aclosing(
            self.host.iterate(plugin, hook, stall_timeout=STALL_S, context=context, request=request)
        ) as items:
            async for item in items:
                model.apply(item)

    def working(self, plugin: str) -> LoadedPlugin:
        """The plugin of that name, which must have loaded. Raises ``AssertionError`` with its traceback otherwise."""
        found = self.host.get(plugin)
        assert found.status == "ok", f"plugin {plugin} is {found.status}: {found.error}\n{found.traceback or ''}"
        return found
