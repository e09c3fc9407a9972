"""Protects the promises every crawl source makes, held against localfs by the kit that strangers use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import paths
from mosaicfs_core.testing import CrawlContract, PluginContract


class FolderSource:
    """A folder as ``CrawlContract`` wants it."""

    plugin = "localfs"
    odd_names = True

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self._root = root
        self.settings: Mapping[str, Any] = {"paths": [str(root)], "watch": False}

    def add(self, name: bytes, content: bytes) -> str:
        path = os.path.join(os.fsencode(self._root), name)
        Path(os.fsdecode(path)).write_bytes(content)
        return paths.escape(path)

    def remove(self, export_path: str) -> None:
        os.unlink(paths.unescape(export_path))

    def break_part(self) -> Callable[[], None]:
        away = self._root.with_name("away")
        os.rename(self._root, away)
        return lambda: os.rename(away, self._root)


class TestPlugin(PluginContract):
    mosaicfs_plugin = "localfs"


class TestCrawl(CrawlContract):
    @pytest.fixture
    def mosaicfs_source(self, tmp_path: Path) -> FolderSource:
        return FolderSource(tmp_path / "folder")
