"""Protects a whole control plane with a hub: configured by its file, shown by its API, and up whatever the hub does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mosaicfs_core import config as configuration
from mosaicfs_core.cli.runtime import Runtime, running, running_server
from mosaicfs_core.errors import ConfigError
from mosaicfs_core.home import Home
from mosaicfs_core.server.serve import bind
from mosaicfs_core.server.state import EXTENSION

pytestmark = pytest.mark.node

MAIN = "from mosaicfs_core.cli.main import main; main()"


@pytest.fixture
def home(tmp_path: Path, server: Any, name: str) -> Home:
    made = Home(tmp_path / "home").prepare()
    made.config_file.write_text(f'[server]\nport = 0\n[hub]\nurl = "{server.base}/{name}"\nuser = "admin"\n')
    password = made.path / "hub_password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    return made


@asynccontextmanager
async def up(home: Home, tmp_path: Path) -> AsyncIterator[Runtime]:
    tree = tmp_path / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "a.txt").write_text("a")
    config = configuration.load(home.config_file, {})
    with bind(config.server) as listener:
        async with running(home, config, listener, paths=[str(tree)]) as runtime:
            yield runtime


async def ask(runtime: Runtime, path: str) -> tuple[int, Any]:
    token = runtime.app.extensions[EXTENSION].local_token
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"{runtime.url}/api/{path}") as answer,
    ):
        return answer.status, await answer.json()


async def test_it_replicates_and_shows_how_it_stands(
    home: Home, tmp_path: Path, server: Any, name: str, until: Any
) -> None:
    async with up(home, tmp_path) as runtime:

        async def live() -> bool:
            return bool((await ask(runtime, "system/info"))[1]["hub"]["state"] == "live")

        await until(live)

        async def indexed() -> bool:
            return any(identifier.startswith("file::") for identifier in await server.leaves(name))

        await until(indexed)
        status, health = await ask(runtime, "health")
        assert (status, health["subsystems"]["hub"]) == (200, {"status": "healthy"})
        hub = (await ask(runtime, "system/info"))[1]["hub"]
        assert hub["url"] == f"{server.base}/{name}"
        assert hub["pushed"] > 0
        assert not hub["lease"]["held"]  # nobody knows yet whether another one had it
        assert "correct horse" not in str(hub)
        await server.kill()

        async def seen() -> bool:
            return bool((await ask(runtime, "health"))[1]["subsystems"]["hub"]["status"] == "degraded")

        await until(seen)
        status, health = await ask(runtime, "health")
        assert (status, health["status"]) == (200, "degraded")
        detail = (await ask(runtime, "system/info"))[1]["hub"]["detail"]
        assert "cannot be reached" in detail or "Connection" in detail or "reset" in detail, detail
    assert not runtime.core.lease.held()


async def test_a_control_plane_alone_shares_the_hub_with_one_that_has_files(
    home: Home, tmp_path: Path, server: Any, name: str, until: Any
) -> None:
    alone = Home(tmp_path / "alone").prepare()
    alone.config_file.write_text('[server]\nport = 0\n[hub]\nuser = "admin"\n')
    (alone.path / "hub_password").write_text("correct horse\n")
    (alone.path / "hub_password").chmod(0o600)
    config = configuration.with_hub(configuration.load(alone.config_file, {}), f"{server.base}/{name}")
    async with up(home, tmp_path) as first:
        with bind(config.server) as listener:
            async with running_server(alone, config, listener) as second:

                async def arrived() -> bool:
                    return (await ask(second, "files"))[1]["total"] == 1

                await until(arrived)
                node_id = second.core.node_id
                _, status = await ask(second, f"nodes/{node_id}/status")
                assert status["subsystems"]["hub"]["url"] == f"{server.base}/{name}"

                async def both_known() -> bool:
                    nodes = {node["id"] for node in (await ask(first, "nodes"))[1]["items"]}
                    return {node_id, first.core.node_id} <= nodes

                await until(both_known)
                assert second.core.failing == first.core.failing == {}


def test_an_address_on_the_command_line_is_checked_and_not_repeated(tmp_path: Path) -> None:
    command = [
        "--home",
        str(tmp_path / "home"),
        "server",
        "run",
        "--hub",
        "https://me:pass-word@couch.example/mosaicfs",
    ]
    ran = subprocess.run([sys.executable, "-c", MAIN, *command], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "--hub: has a user or a password in it" in ran.stderr
    assert "pass-word" not in ran.stderr + ran.stdout
    assert "Traceback" not in ran.stderr


async def test_a_configuration_that_cannot_work_stops_the_start(home: Home, tmp_path: Path) -> None:
    (home.path / "hub_password").chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        async with up(home, tmp_path):
            pass
    config = configuration.load(home.config_file, {"MOSAICFS_HUB_URL": "http://127.0.0.1:9/x"})
    without = msgspec.structs.replace(config.agent, disabled_plugins=("couchdb",))
    (home.path / "hub_password").chmod(0o600)
    with pytest.raises(ConfigError, match="no plugin for hubs"), bind(config.server) as listener:
        async with running(home, msgspec.structs.replace(config, agent=without), listener):
            pass
