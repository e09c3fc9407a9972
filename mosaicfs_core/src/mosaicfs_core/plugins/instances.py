"""The plugin instances of this node: plugin documents made into something that runs, and kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mosaicfs_core.documents import times
from mosaicfs_core.documents.instances import instance_document, package_of
from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import hooks_asked
from mosaicfs_core.plugins.context import CoreServices, InstanceContext
from mosaicfs_core.plugins.first_instances import seed_instances, seeded_names, was_seeded, with_facts, withdraw
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.plugins.node_settings import RESERVED
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.plugins.prefixes import clashes, own_prefix, places_of
from mosaicfs_core.plugins.secrets import opened
from mosaicfs_core.security.node_keys import NodeKey

if TYPE_CHECKING:
    from mosaicfs_core.store import Reader


HELD_BY_A_PAUSE: Final = frozenset({"mosaicfs_crawl", "mosaicfs_watch", "mosaicfs_run"})
"""What begins by itself. File events are held by the queue; questions are still answered."""


@dataclass(frozen=True)
class Instance:
    """One plugin document of this node.

    ``settings`` is what the plugin sees as its ``config``. ``problem`` says why an instance cannot run (its package is
    missing or broken, its settings are wrong, its files would lie among another's), None when it can; ``enabled`` is
    what the user wants. ``left_behind`` is one that was made by default and whose package is gone: nothing to mend.
    """

    name: str
    package: str
    document: Mapping[str, Any]
    settings: Mapping[str, Any]
    plugin: LoadedPlugin | None
    problem: str | None
    context: InstanceContext
    left_behind: bool = False

    @property
    def enabled(self) -> bool:
        """Whether the user switched it on."""
        return bool(self.document.get("enabled", True))

    @property
    def uninstalled(self) -> bool:
        """Whether there is no package to run it by."""
        return self.plugin is None and self.document.get("plugin_type", "package") == "package"

    @property
    def paused(self) -> bool:
        """Whether it is to begin nothing more for now."""
        return bool(self.document.get("paused"))

    @property
    def held_back(self) -> str | None:
        """That it is switched off or paused, or its plugin is left out here, in words; None when it is to run."""
        if not self.enabled:
            return "switched off"
        if self.plugin is not None and self.plugin.status == "disabled":
            return self.plugin.error
        return "paused" if self.paused else None

    @property
    def prefix(self) -> str:
        """The export path beneath which the files of an instance that provides a filesystem lie, "" for others."""
        return own_prefix(self.document, self.plugin.manifest if self.plugin is not None else None)

    @property
    def watches(self) -> bool:
        """Whether it watches folders of this machine."""
        return bool(self.document.get("watches"))

    @property
    def poll_interval_s(self) -> float | None:
        """Seconds between crawls: the document's, else the manifest's, else None."""
        if self.document.get("poll_interval_s") is not None:
            return float(self.document["poll_interval_s"])
        return self.plugin.manifest.poll_interval_s if self.plugin and self.plugin.manifest else None

    @property
    def hooks(self) -> frozenset[str]:
        """The hooks that it has: its package's, of a foreign program those that its document asks for."""
        if self.document.get("plugin_type", "package") == "package":
            return self.plugin.hooks if self.plugin is not None else frozenset()
        return hooks_asked(self.document)

    def runs(self, hook: str) -> bool:
        """Whether the host should call this hook for it."""
        if self.paused and hook in HELD_BY_A_PAUSE:
            return False
        return self.enabled and self.problem is None and hook in self.hooks


class Instances:
    """The instances of this node. ``current`` is replaced by ``refresh`` and ``follow``, never changed in place."""

    def __init__(self, core: CoreServices) -> None:
        self._core = core
        self._contexts: dict[str, InstanceContext] = {}
        self._places: Mapping[str, Places] = {}
        self._seeded: frozenset[str] = frozenset()
        self._key: NodeKey | None = None
        self._reading = asyncio.Lock()
        self.current: Mapping[str, Instance] = {}

    async def ensure_defaults(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> list[str]:
        """Make an instance of each plugin that asks for one by default, once: a deleted one does not come back.

        ``settings`` gives first settings by plugin name. Returns the names of what was made. One whose package is gone
        goes as well, unless somebody has changed it.
        """
        await withdraw(self._core.store, self._core.node_id, self._core.host.plugins.keys())
        made = self.defaults(settings)
        names = await seed_instances(self._core.store, self._core.node_id, made)
        await self._remember()
        return names

    def defaults(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
        """The documents of the instances that the installed plugins ask for by default."""
        return [
            default_document(self._core.node_id, plugin, (settings or {}).get(plugin.name))
            for plugin in self._core.host.plugins.values()
            if plugin.status == "ok"
            and plugin.manifest is not None
            and plugin.manifest.default_enabled
            and plugin.manifest.available
        ]

    async def _remember(self) -> None:
        """Let the documents keep of their packages what those that are installed now say."""
        for document in await self._core.store.read(self._read):
            plugin = self._core.host.plugins.get(package_of(document))
            if plugin is not None and plugin.manifest is not None and _is_package(document):
                facts = described(document["plugin_name"], plugin)
                await self._core.store.update(document["_id"], partial(with_facts, facts))

    def undescribed(self) -> list[dict[str, Any]]:
        """What the documents do not say of their packages as they are installed here: of each that lacks something all
        that it should say. It may have been made where the package is not."""
        found = []
        for instance in self.current.values():
            plugin = instance.plugin
            if plugin is None or plugin.manifest is None or not _is_package(instance.document):
                continue
            facts = described(instance.name, plugin)
            if with_facts(facts, dict(instance.document)) is not None:
                name = instance.document.get("name", instance.name)
                found.append({"plugin_name": instance.name, "package": instance.package, "name": name, **facts})
        return found

    async def refresh(self) -> Mapping[str, Instance]:
        """Read this node's plugin documents."""
        async with self._reading:  # what was read last is what counts
            documents = await self._core.store.read(self._read)
            self._seeded = await seeded_names(self._core.store)
            clashing = clashes(documents, self._core.host.manifest_of)
            self._places = places_of(documents, self._core.host.manifest_of)
            found = [self._instance(document, clashing.get(document["plugin_name"])) for document in documents]
            self.current = {instance.name: instance for instance in found if instance is not None}
            return self.current

    async def follow(self) -> AsyncIterator[frozenset[str]]:
        """Yield the names of instances that came, changed or went, after each change, ``current`` being up to date."""
        since = self._core.store.reader.seq()
        before = await self.changed()
        if before:
            yield before
        async for _ in self._core.store.changes(since, live=True, types={"plugin"}):
            changed = await self.changed()
            if changed:
                yield changed

    async def changed(self) -> frozenset[str]:
        """``refresh``, and the names of instances that came, changed or went by that."""
        old, new = self.current, await self.refresh()
        names = old.keys() | new.keys()
        return frozenset(name for name in names if _state(old.get(name)) != _state(new.get(name)))

    def _read(self, reader: Reader) -> list[dict[str, Any]]:
        return reader.documents_of("plugin", (self._core.node_id,))

    def _instance(self, document: Mapping[str, Any], clash: str | None) -> Instance | None:
        name = str(document["plugin_name"])
        if name == RESERVED:
            return None
        package = package_of(document)
        plugin = self._core.host.plugins.get(package)
        given, unopened = opened(document, self._own_key)
        settings, problem = self._check(document, package, plugin, given)
        context = self._contexts.get(name)
        if context is None:
            context = InstanceContext(self._core, name, lambda: self._settings_of(name), lambda: self.places(name))
            self._contexts[name] = context
        left_behind = plugin is None and name in self._seeded
        return Instance(name, package, document, settings, plugin, unopened or problem or clash, context, left_behind)

    def _own_key(self) -> NodeKey:
        if self._key is None:
            self._key = NodeKey.of_home(self._core.home)
        return self._key

    def _settings_of(self, name: str) -> Mapping[str, Any]:
        instance = self.current.get(name)
        return instance.settings if instance is not None else {}

    def places(self, name: str) -> Places:
        """Where an instance's files lie and where those of the others do, as of the moment. Callable from any
        thread."""
        return self._places.get(name, Places())

    def _check(
        self, document: Mapping[str, Any], package: str, plugin: LoadedPlugin | None, given: dict[str, Any]
    ) -> tuple[Mapping[str, Any], str | None]:
        """The settings with defaults, and why the instance cannot run."""
        kind = document.get("plugin_type", "package")
        if kind != "package":
            return (
                given,
                None if kind in self._core.host.kinds() else f"no installed plugin runs plugins of type {kind}",
            )
        if plugin is None:
            return given, f"no plugin {package} is installed"
        if plugin.status != "ok" or plugin.manifest is None:
            return given, plugin.error
        if not plugin.manifest.available:
            return given, f"{plugin.manifest.title} is announced and not available in this release"
        if plugin.manifest.settings_schema is None:
            return given, None
        try:
            schema = self._core.host.settings_schema(plugin)
            settings = schema.filled(given)
            wrong = schema.errors(settings)
        except PluginError as error:
            return given, error.message
        return settings, "; ".join(f"setting {field or '(all)'}: {text}" for field, text in wrong) or None


async def is_wanted(core: CoreServices, package: str) -> bool:
    """Whether a package is to serve on this node: one of its instances is switched on, or there never was one.

    One that was made by default and removed is not wanted (which an agent, whose instances are written elsewhere, does
    not notice). Pausing an instance holds back its work alone.
    """
    documents = core.store.reader.documents_of("plugin", (core.node_id,))
    switches = [bool(document.get("enabled", True)) for document in documents if package_of(document) == package]
    if switches:
        return any(switches)
    return not await was_seeded(core.store, package)


def default_document(node_id: str, plugin: LoadedPlugin, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plugin document of a first instance of a package on a node, named as the package."""
    manifest = plugin.manifest
    title = manifest.title if manifest else None
    document = instance_document(node_id, plugin.name, title=title, created_at=times.now_text())
    document |= described(plugin.name, plugin)
    if settings is not None:
        document["settings"] = dict(settings)
    return document


def provided_filesystem(name: str, plugin: LoadedPlugin) -> dict[str, Any]:
    """The part of an instance's document that tells where its files are, even where the package is not installed."""
    provides = plugin.manifest is not None and plugin.manifest.provides_filesystem
    return {"provides_filesystem": True, "file_path_prefix": f"/{name}"} if provides else {}


def remembered(plugin: LoadedPlugin) -> dict[str, Any]:
    """What a plugin document keeps of its package, for when and where that does not load: the schema that tells its
    secrets from the rest, which setting lists watched folders, and the capabilities that it answers."""
    manifest = plugin.manifest
    if manifest is None:
        return {}
    answers = sorted({endpoint.capability for endpoint in manifest.queries}) or None
    facts = {"settings_schema": manifest.settings_schema, "watches": manifest.watches, "answers": answers}
    kept = {name: fact for name, fact in facts.items() if fact is not None}
    return dict(msgspec.json.decode(msgspec.json.encode(kept)))


def described(name: str, plugin: LoadedPlugin) -> dict[str, Any]:
    """All that the document of an instance keeps of its package."""
    return remembered(plugin) | provided_filesystem(name, plugin)


def _is_package(document: Mapping[str, Any]) -> bool:
    return bool(document.get("plugin_type", "package") == "package")


def _state(instance: Instance | None) -> tuple[Any, ...] | None:
    if instance is None:
        return None
    package = None if instance.plugin is None else (instance.plugin.manifest, instance.plugin.code)
    # The document of another instance can be what is in the way of this one.
    return (instance.document, instance.problem, package)
