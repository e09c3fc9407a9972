"""Protects the examples in other languages: they run as plugins of a real agent, and do what they say."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points

from mosaicfs_core.agent import Agent
from mosaicfs_core.documents import times
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.plugins.running import kinds
from mosaicfs_core.testing.harness import Harness
from mosaicfs_core.unix_sockets import reachable

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@asynccontextmanager
async def home(tmp_path: Path) -> AsyncIterator[tuple[Harness, Path]]:
    """A home that watches a folder and runs foreign programs."""
    tree = tmp_path / "tree"
    tree.mkdir()
    points = [point for name in ("localfs", "external") for point in entry_points(group="mosaicfs", name=name)]
    async with asyncio.timeout(60), Harness.start(tmp_path / "home", plugins=points) as harness:
        await harness.instance("localfs", {"paths": [str(tree)]})
        yield harness, tree


async def instance(harness: Harness, name: str, kind: str, **fields: Any) -> None:
    document = instance_document(harness.core.node_id, name, package=name, created_at=times.now_text())
    given = {"plugin_type": kind, "subscribed_events": ["file.added"], "health_check_interval_s": 0.2, **fields}
    await harness.store.put({**document, **given})


async def annotations(harness: Harness) -> dict[str, Any]:
    found = await harness.store.read(lambda reader: reader.documents_of("annotation", ()))
    return {one["export_path"].rpartition("/")[2]: one["data"] for one in found}


async def until(harness: Harness, holds: Callable[[], Awaitable[Any]]) -> None:
    """Look after each write, and now and then."""
    while True:
        seq = harness.store.seq
        if await holds():
            return
        await harness.store.wait(seq, 0.2)


async def test_the_words_of_text_files_are_counted_by_ten_lines_of_shell(tmp_path: Path) -> None:
    async with home(tmp_path) as (harness, tree):
        harness.home.plugins_dir.mkdir(mode=0o700)
        shutil.copy(EXAMPLES / "word-count" / "word-count", harness.home.plugins_dir)
        await instance(harness, "word-count", "executable", mime_globs=["text/*"])
        (tree / "a poem.txt").write_text("roses are red\nviolets\n")
        (tree / "picture.png").write_bytes(b"words in no text")
        async with harness.agent():
            await until(harness, lambda: _is(harness, {"a poem.txt": {"words": 4}}))


async def _is(harness: Harness, wanted: dict[str, Any]) -> bool:
    return await annotations(harness) == wanted


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
async def test_colours_are_named_and_asked_for_by_a_program_for_node_that_stays(tmp_path: Path) -> None:
    async with home(tmp_path) as (harness, tree):
        directory = kinds.socket_dir(harness.home)
        directory.mkdir(mode=0o700, parents=True)
        program = EXAMPLES / "colour-names" / "colour-names.mjs"
        child = await asyncio.create_subprocess_exec(
            "node", os.fspath(program), "colour-names.sock", cwd=directory, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert child.stdout is not None
            assert await child.stdout.readline() == b"listening\n"
            await _reset(directory / "colour-names.sock")
            endpoint = {"name": "colours", "capability": "colours", "description": ""}
            await instance(harness, "colour-names", "socket", mime_globs=["text/*"], query_endpoints=[endpoint])
            (tree / "sky.txt").write_text("Blue, with a white cloud")
            (tree / "night.txt").write_text("black")
            async with harness.agent() as agent:
                wanted = {"sky.txt": {"colours": ["blue", "white"]}, "night.txt": {"colours": ["black"]}}
                await until(harness, lambda: _is(harness, wanted))
                await _asked(harness, agent)
        finally:
            child.kill()
            await child.wait()


async def _reset(path: Path) -> None:
    """Connect as a host that is killed at once: with what it was told unread, the program sees a reset."""
    with socket.socket(socket.AF_UNIX) as host:
        host.setblocking(False)
        loop = asyncio.get_running_loop()
        with reachable(path) as short:
            await loop.sock_connect(host, short)
        assert await loop.sock_recv(host, 1)  # the rest of its hello stays unread


async def _asked(harness: Harness, agent: Agent) -> None:
    told = await agent.job_methods.query({"capability": "colours", "query": "white"})
    (envelope,) = told["envelopes"]
    (hit,) = envelope["results"]
    row = harness.store.reader.file_by_id(hit["file_id"])
    assert row is not None
    assert row.name == "sky.txt"
    await until(harness, lambda: _healthy(agent))


async def _healthy(agent: Agent) -> bool:
    reports = agent.status()["subsystems"]["instances"]["reports"]
    return bool(reports.get("colour-names", {}).get("detail") == "2 files")
