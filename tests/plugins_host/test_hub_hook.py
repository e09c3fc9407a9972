"""Protects the choice of the plugin behind ``[hub] url``: the first that takes the address, whatever others do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from mosaicfs_core.config import HubConfig
from mosaicfs_core.errors import ConfigError
from mosaicfs_core.hooks import HOOK_API, HubAccess, HubAddress, HubNote, PluginManifest, hookimpl
from mosaicfs_core.server.hub import running_hub
from mosaicfs_core.server.hub.link import hub_of
from mosaicfs_core.testing import Harness, plugin_at

ADDRESS = HubAddress("https://hub.example/mosaicfs", "me", "secret")


class Nothing:
    """A hub as far as its methods go."""

    def access(self) -> HubAccess:
        return HubAccess("http://127.0.0.1:9", "/x")

    async def prepare(self) -> None:
        raise RuntimeError("boom")

    async def read(self, name: str) -> HubNote | None:
        return None

    async def swap(self, name: str, body: Mapping[str, Any], rev: str | None) -> str:
        return "1"

    async def close(self) -> None:
        """Nothing."""


def raises(address: HubAddress) -> Any:
    raise RuntimeError("boom")


ANSWERS = {
    "a-raises": raises,
    "b-lies": lambda _: {"access": 1},
    "c-declines": lambda _: None,
    "d": lambda _: Nothing(),
}


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One plugin for each of ``ANSWERS``."""
    points = []
    for name, answer in ANSWERS.items():
        module = ModuleType(f"hub_plugin_{name[0]}")

        @hookimpl
        def mosaicfs_manifest() -> PluginManifest:
            return PluginManifest(title="Hub", description="A hub.", version="1", hook_api=HOOK_API)

        @hookimpl
        def mosaicfs_hub(address: HubAddress, answer: Any = answer) -> Any:
            return answer(address)

        vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_hub=mosaicfs_hub)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        points.append(plugin_at(name, module.__name__))
    return points


@pytest.mark.logs("plugin a-raises: mosaicfs_hub failed", "plugin b-lies: mosaicfs_hub returned dict")
async def test_the_first_that_takes_the_address_is_taken(plugins: list[Any], tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        name, hub = hub_of(harness.core, ADDRESS)
        assert name == "d"
        assert isinstance(hub, Nothing)
        assert [failure.plugin for failure in harness.host.failures] == ["a-raises", "b-lies"]


async def test_an_address_that_nobody_takes_stops_the_start(plugins: list[Any], tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "one", plugins=plugins[2:3]) as harness:
        with pytest.raises(ConfigError, match=r"hub\.url: .*of the plugins c-declines none takes it") as caught:
            hub_of(harness.core, ADDRESS)
        assert "secret" not in caught.value.message
    async with Harness.start(tmp_path / "two", plugins=[]) as harness:
        with pytest.raises(ConfigError, match="no plugin for hubs is installed and working"):
            hub_of(harness.core, ADDRESS)


@pytest.mark.logs("the hub cannot be used: plugin d: mosaicfs_hub failed: RuntimeError: boom")
async def test_a_hub_that_breaks_is_shown_and_breaks_nothing(plugins: list[Any], tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=plugins[3:]) as harness:
        core = harness.core
        core.config = msgspec.structs.replace(core.config, hub=HubConfig(url=ADDRESS.url))
        async with running_hub(core) as link:
            assert link is not None
            while link.status.last_error is None:
                await harness.store.wait(harness.store.seq, 0.01)
            assert link.facts()["status"] == "degraded"
            assert core.hub is link
            assert core.lease is link.lease
            assert not core.lease.held()
        assert not core.lease.held()
        assert core.failing == {}


async def test_without_a_hub_the_lease_is_held(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[]) as harness, running_hub(harness.core) as link:
        assert link is None
        assert harness.core.hub is None
        assert harness.core.lease.held()
