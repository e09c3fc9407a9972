"""Protects the folders that a user names: they go to whatever plugin says that it watches folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaicfs_core.cli.foreground import can_mount
from mosaicfs_core.cli.registration import add_watch_paths, watched_roots
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.testing import Harness, plugin_at

PLACES = {"type": "object", "properties": {"places": {"type": "array", "items": {"type": "string"}, "default": []}}}


class Watching:
    """A stranger's plugin that watches folders."""

    @hookimpl
    def mosaicfs_manifest(self) -> PluginManifest:
        return PluginManifest(
            title="Places",
            description="Watches places.",
            version="1",
            hook_api=HOOK_API,
            default_enabled=True,
            settings_schema=PLACES,
            watches="places",
        )


watching = Watching()


async def test_folders_go_to_the_plugin_that_watches_folders(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("places", f"{__name__}:watching")]) as harness:
        await add_watch_paths(harness.core, ["/a"])
        await add_watch_paths(harness.core, ["/b", "/a/beneath"])
        assert await watched_roots(harness.core) == ("/a", "/b")
        assert (await harness.instances.refresh())["places"].settings == {"places": ["/a", "/b"]}


async def test_folders_that_nothing_watches_are_refused_with_the_package_that_is_missing(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[]) as harness:
        with pytest.raises(UserError, match=r"^/a cannot be indexed: .*`pip install mosaicfs-plugins`"):
            await add_watch_paths(harness.core, ["/a"])
        await add_watch_paths(harness.core, ["/a"], named=False)
        assert await watched_roots(harness.core) == ()


async def test_whether_something_mounts_is_known_by_its_command(tmp_path: Path) -> None:
    assert can_mount(PluginHost.discover(only={"vfs"}))
    assert not can_mount(PluginHost.discover(only={"localfs"}))
