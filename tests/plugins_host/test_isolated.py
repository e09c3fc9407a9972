"""Protects packages in processes of their own: they serve, are killed, crash on a file, hang, and the host goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points

from mosaicfs_core.agent.running import RunningInstances
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import CrawlRequest, FileEvent, FileRecord, QueryRequest, RunningPlugin
from mosaicfs_core.plugins.running import child, kinds
from mosaicfs_core.testing.harness import Harness, plugin_at

PACKAGE = """
import asyncio, os, signal, subprocess, sys, time
from mosaicfs_core.hooks import *

class Page:
    there = most = 0

    def __init__(self):
        self.document = self
        Page.there += 1
        Page.most = max(Page.most, Page.there)

    def __del__(self):
        Page.there -= 1

print("hello from an import")
os.write(1, b"x" * 300_000 + b"\\n")

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Apart", description="Runs apart.", version="1", hook_api=HOOK_API, isolate=True,
                          provides_filesystem=True, subscribed_events=("file.added",),
                          settings_schema={"type": "object", "properties": {"tone": {"type": "string"}}})

@hookimpl
async def mosaicfs_file_event(context, event):
    name = event.file.name
    if name == "poison":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "stuck":
        async for chunk in context.open_file(event.file):
            time.sleep(3600)
    if name == "block":
        while True:
            time.sleep(1)
    if name == "wait":
        await asyncio.Event().wait()
    if name == "orphan":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        os._exit(1)
    if name == "fork":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        return {"child": child.pid}
    if name == "noise":
        print("x" * 300_000, file=sys.stderr)
        print("y" * 300_000)
    if name == "pages":
        for _ in range(10_000):
            Page()
        return {"most": Page.most}
    if name == "away":
        raise Unavailable("the server is away")
    if name == "raise":
        raise ValueError("cannot be read")
    (context.state_dir / name).write_text("seen")
    return {"pid": os.getpid(), "tone": context.config.get("tone")}

@hookimpl
async def mosaicfs_query(context, request):
    return ResultEnvelope(results=(Hit(data={"pid": os.getpid(), "query": request.query}),))

@hookimpl
async def mosaicfs_crawl(context, request):
    yield Create(export_path=f"{context.prefix}/one.txt", size=1, mtime=1)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "apart_plugin.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.setattr(child, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(child, "GRACE_S", 0.5)


class Apart:
    """The running plugin, and a way to wait for what becomes of it."""

    def __init__(self, running: RunningPlugin, changed: asyncio.Event, harness: Harness) -> None:
        self.running, self._changed, self.harness = running, changed, harness
        self.sequence = 0

    async def send(self, name: str) -> Any:
        return await self.give(
            FileRecord(file_id="n.u", node_id="n", export_path=f"/{name}", name=name, size=1, mtime=1, inode=1000)
        )

    async def give(self, file: FileRecord) -> Any:
        self.sequence += 1
        event = FileEvent(event="file.added", sequence=self.sequence, timestamp="t", node_id="n", file=file)
        return await self.running.file_event(event)

    async def limit(self, timeout_s: float) -> None:
        identifier = "plugin::" + self.harness.core.node_id + "::apart"
        await self.harness.store.update(identifier, lambda present: {**(present or {}), "timeout_s": timeout_s})
        await self.harness.instances.refresh()

    async def until(self, up: bool) -> None:
        async with asyncio.timeout(60):
            while (self.running.problem is None) is not up:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def apart(module: None, tmp_path: Path) -> AsyncIterator[Apart]:
    plugins = [plugin_at("apart", "apart_plugin"), *entry_points(group="mosaicfs", name="external")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        await harness.instance("apart", {"tone": "low"})
        changed = asyncio.Event()
        running = kinds.run(harness.core, harness.instances, harness.instances.current["apart"], changed.set)
        await running.start()
        try:
            yield Apart(running, changed, harness)
        finally:
            await running.stop()


async def test_it_works_elsewhere_with_the_instances_own_context(apart: Apart) -> None:
    answer = await apart.send("a")
    assert answer["tone"] == "low"
    assert answer["pid"] != os.getpid()
    assert (apart.harness.home.state_dir / "apart" / "a").read_text() == "seen"
    envelope = await apart.running.query(QueryRequest(capability="c", endpoint="e", query="why"))
    assert envelope.results[0].data == {"pid": answer["pid"], "query": "why"}
    parts = [part async for part in apart.running.crawl(CrawlRequest(trigger="manual"))]
    assert parts[0][0].export_path == "/apart/one.txt"  # type: ignore[union-attr]  # a Create


async def test_its_socket_is_taken_for_no_foreign_program(apart: Apart) -> None:
    await apart.send("a")
    assert kinds.programs(apart.harness.home, apart.harness.host) == []
    assert not list(kinds.socket_dir(apart.harness.home).glob("*"))


async def test_new_settings_arrive_without_a_restart(apart: Apart) -> None:
    before = await apart.send("a")
    await apart.harness.instance("apart", {"tone": "high"})
    apart.running.configure()
    after = await apart.send("b")
    assert (after["tone"], after["pid"]) == ("high", before["pid"])


async def test_what_it_leaves_behind_in_cycles_does_not_pile_up(apart: Apart) -> None:
    """A few of them may hold hundreds of megabytes: those of a reader of documents refer to a whole file each."""
    assert (await apart.send("pages"))["most"] < 3_000


@pytest.mark.logs("cannot be read|the server is away")
async def test_its_errors_are_attempts_and_its_noise_hurts_nobody(apart: Apart) -> None:
    with pytest.raises(PluginError, match=r"^plugin apart: mosaicfs_file_event failed: ValueError: cannot be read$"):
        await apart.send("raise")
    with pytest.raises(PluginError, match=r"^plugin apart: mosaicfs_file_event failed: the server is away$") as told:
        await apart.send("away")
    assert told.value.unavailable
    assert (await apart.send("noise"))["pid"]
    assert (await apart.send("a"))["pid"]


@pytest.mark.logs("its process will be started again|SIGSEGV")
async def test_what_kills_it_alone_is_charged_and_the_rest_goes_on_in_a_new_process(apart: Apart) -> None:
    first = await apart.send("a")
    with pytest.raises(PluginError, match="SIGSEGV"):
        await apart.send("poison")
    await apart.until(up=True)
    assert (await apart.send("b"))["pid"] != first["pid"]


@pytest.mark.logs("its process will be started again|SIGSEGV|SIGKILL")
async def test_of_several_none_is_charged_and_they_come_one_at_a_time_after(apart: Apart) -> None:
    await apart.send("a")
    assert apart.running.window == child.WINDOW
    outcomes = await asyncio.gather(*map(apart.send, ("b", "poison", "c", "d")), return_exceptions=True)
    assert not any(isinstance(outcome, PluginError) for outcome in outcomes)
    assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) >= 2
    assert apart.running.window == 1
    await apart.until(up=True)
    for name in ("b", "c", "d", "e"):
        await apart.send(name)
    assert apart.running.window == child.WINDOW


@pytest.mark.logs("its process will be started again|SIGSEGV|SIGKILL")
async def test_killed_from_outside_it_is_back_at_once(apart: Apart) -> None:
    first = await apart.send("a")
    os.kill(first["pid"], signal.SIGKILL)
    await apart.until(up=False)
    with pytest.raises(Unavailable, match=r"SIGKILL|being started|not connected"):
        await apart.send("b")
    await apart.until(up=True)
    assert (await apart.send("b"))["pid"] != first["pid"]


@pytest.mark.logs("its process will be started again|did not acknowledge")
async def test_one_that_hangs_is_killed_and_the_event_charged(apart: Apart) -> None:
    await apart.send("a")
    await apart.limit(0.5)
    with pytest.raises(PluginError, match=r"within 0\.5 s"):
        await apart.send("block")
    await apart.until(up=False)
    await apart.until(up=True)
    assert (await apart.send("b"))["pid"]


@pytest.mark.logs("its process will be started again|did not acknowledge")
async def test_what_waits_behind_one_that_hangs_is_not_charged(apart: Apart) -> None:
    await apart.send("a")
    name = "plugin::" + apart.harness.core.node_id + "::apart"
    await apart.harness.store.update(name, lambda present: {**(present or {}), "timeout_s": 0.5})
    await apart.harness.instances.refresh()
    outcomes = await asyncio.gather(apart.send("block"), apart.send("b"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PluginError, Unavailable]


async def test_an_event_at_one_that_is_stopped_is_not_charged(apart: Apart) -> None:
    await apart.send("a")
    waiting = asyncio.create_task(apart.send("wait"))
    await asyncio.sleep(0)
    await apart.running.query(QueryRequest(capability="c", endpoint="e", query="has it begun?"))
    await apart.running.stop()
    with pytest.raises(Unavailable, match="it was stopped"):
        await waiting


@pytest.mark.logs("its process will be started again|did not acknowledge")
async def test_one_that_hangs_with_bytes_on_their_way_to_it_is_killed_as_well(apart: Apart, tmp_path: Path) -> None:
    await apart.send("a")
    with (tmp_path / "stuck").open("wb") as file:
        file.truncate(30 << 20)
    record = await apart.harness.index(tmp_path / "stuck")
    await apart.limit(0.5)
    with pytest.raises(PluginError, match=r"within 0\.5 s"):
        await apart.give(record)
    await apart.until(up=False)
    await apart.until(up=True)
    assert (await apart.send("b"))["pid"]


@pytest.mark.logs("its process will be started again|its process ended")
async def test_what_has_left_its_group_holds_nothing_up(apart: Apart) -> None:
    await apart.send("a")
    async with asyncio.timeout(30):
        with pytest.raises(PluginError):
            await apart.send("orphan")
        await apart.until(up=True)
        assert (await apart.send("b"))["pid"]


async def test_what_it_started_ends_with_it(apart: Apart) -> None:
    started = os.pidfd_open((await apart.send("fork"))["child"])
    try:
        await apart.running.stop()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(started, ended.set)
        await ended.wait()
        loop.remove_reader(started)
    finally:
        os.close(started)


async def test_it_is_started_anew_to_be_run_in_another_way(apart: Apart) -> None:
    harness = apart.harness

    async def ending(name: str) -> None:
        """Nobody works for it here."""

    instances = RunningInstances(harness.core, harness.instances, lambda name: None, ending)
    first = await instances.ensure(harness.instances.current["apart"])
    assert first is not None
    identifier = ids.plugin_document_id(harness.core.node_id, "apart")
    try:
        await harness.store.update(identifier, lambda one: {**(one or {}), "isolate": False})
        assert await instances.ensure((await harness.instances.refresh())["apart"]) is not first
    finally:
        await instances.stop()
