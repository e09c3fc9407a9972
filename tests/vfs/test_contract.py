"""Protects that ``vfs`` is a plugin like any other: it passes the kit that strangers' plugins pass."""

from __future__ import annotations

from mosaicfs_core.testing import PluginContract


class TestPlugin(PluginContract):
    mosaicfs_plugin = "vfs"
