"""The plugin keeps the contracts of plugins and of crawls."""

import os

import pytest

from mosaicfs_core.testing import CrawlContract, PluginContract, native, written


class TestPlugin(PluginContract):
    mosaicfs_plugin = "recipes"


class Source:
    plugin = "recipes"
    odd_names = True

    def __init__(self, folder):
        self.settings = {"recipes": {}}
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name, content):
        (self.folder / os.fsdecode(name)).write_bytes(content)
        return f"/recipes/{written(name)}"

    def remove(self, export_path):
        (self.folder / os.fsdecode(native(export_path.rpartition("/")[2]))).unlink()

    def break_part(self):
        return None


class TestCrawl(CrawlContract):
    @pytest.fixture
    def mosaicfs_source(self, tmp_path):
        return Source(tmp_path / "home" / "bridge-data" / "files" / "recipes")
