"""The conformance kit for plugin authors: contracts to subclass, fixtures, and plugins that misbehave.

Opt in with ``pytest_plugins = ["mosaicfs_core.testing"]`` in your ``conftest.py``; every fixture is prefixed
``mosaicfs_``::

    from mosaicfs_core.testing import PluginContract

    class TestHello(PluginContract):
        mosaicfs_plugin = "hello"          # the entry point's name

The contracts and fixtures need pytest and pytest-asyncio. Without them ``mosaicfs plugin check hello`` runs the same
checks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mosaicfs_core.testing.contracts import CrawlContract, PluginContract
    from mosaicfs_core.testing.harness import Harness, plugin_at
    from mosaicfs_core.testing.model import CrawlModel, CrawlSource, native, written
    from mosaicfs_core.testing.work_checks import WorkSource
    from mosaicfs_core.testing.work_contracts import FileEventContract, QueryContract

pytest_plugins: Final = ("mosaicfs_core.testing.fixtures",)

# Imported on demand, so that the checks work where pytest is not installed.
_HOMES: Final = {
    "CrawlContract": "contracts",
    "CrawlModel": "model",
    "CrawlSource": "model",
    "FileEventContract": "work_contracts",
    "Harness": "harness",
    "PluginContract": "contracts",
    "QueryContract": "work_contracts",
    "WorkSource": "work_checks",
    "native": "model",
    "plugin_at": "harness",
    "written": "model",
}

__all__ = [
    "CrawlContract",
    "CrawlModel",
    "CrawlSource",
    "FileEventContract",
    "Harness",
    "PluginContract",
    "QueryContract",
    "WorkSource",
    "native",
    "plugin_at",
    "written",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
