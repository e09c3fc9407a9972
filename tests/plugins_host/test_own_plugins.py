"""Protects our own plugins: they keep the contracts that the kit demands of a stranger's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.testing import CrawlContract, CrawlSource, PluginContract, native, written


class TestCouchdb(PluginContract):
    mosaicfs_plugin = "couchdb"


class TestEmail(PluginContract):
    mosaicfs_plugin = "email"


class TestExternal(PluginContract):
    mosaicfs_plugin = "external"


class TestFulltext(PluginContract):
    mosaicfs_plugin = "fulltext"


class TestLabels(PluginContract):
    mosaicfs_plugin = "labels"


class TestLocalfs(PluginContract):
    mosaicfs_plugin = "localfs"


class TestPins(PluginContract):
    mosaicfs_plugin = "pins"


class TestSearch(PluginContract):
    mosaicfs_plugin = "search"


class TestSummarize(PluginContract):
    mosaicfs_plugin = "summarize"


class TestVfs(PluginContract):
    mosaicfs_plugin = "vfs"


def test_each_of_our_plugins_is_held_to_it() -> None:
    ours = {name for name, plugin in PluginHost.discover().plugins.items() if plugin.first_party}
    held = {contract.mosaicfs_plugin for contract in PluginContract.__subclasses__() if contract.__module__ == __name__}
    assert ours == held


class Folder:
    """A watched folder; it breaks by not being there, as an unmounted disk is."""

    plugin = "localfs"
    odd_names = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = {"paths": [str(root)]}
        (root / "anchor").mkdir(parents=True)

    def add(self, name: bytes, content: bytes) -> str:
        path = os.path.join(os.fsencode(self.root), name)
        with open(path, "wb") as file:
            file.write(content)
        return written(path)

    def remove(self, export_path: str) -> None:
        os.unlink(native(export_path))

    def break_part(self) -> Callable[[], None]:
        away = self.root.with_name("away")
        self.root.rename(away)
        return lambda: away.rename(self.root) and None


class TestLocalfsCrawl(CrawlContract):
    @pytest.fixture
    def mosaicfs_source(self, tmp_path: Path) -> CrawlSource:
        return Folder(tmp_path / "folder")
