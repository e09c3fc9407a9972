"""Protects the plugin in a process of its own, as it runs by default: it answers over the wire, and survives a kill."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import made_documents as made
import pytest

from mosaicfs_core.plugins.running import child, kinds


def children() -> set[int]:
    """The processes that this one has started."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.mark.logs("its process will be started again", "SIGKILL", "is not running")
async def test_it_works_in_its_own_process_and_keeps_what_it_acknowledged(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "FIRST_PAUSE_S", 0.2)
    async with asyncio.timeout(60), start(switched_on=False) as instance:
        core, instances = instance.harness.core, instance.harness.instances
        changed = asyncio.Event()
        before = children()
        running = kinds.run(core, instances, instances.current["fulltext"], changed.set)
        await running.start()
        working = asyncio.ensure_future(running.run())
        instance.running_plugin = running
        try:
            await asyncio.gather(*(instance.add(f"{number}.txt", f"word{number} shared") for number in range(40)))
            # Of a name that is no text the host can tell no path over the wire.
            file = await instance.known("wolf\udcfe.txt", "a name for wolves")
            await instance.tell("file.added", file, local_path=None)
            await instance.add("paper.pdf", made.pdf(["A page about turbines"]))
            for pid in children() - before:
                os.kill(pid, signal.SIGKILL)
            for down in (True, False):
                while (running.problem is not None) is not down:
                    changed.clear()
                    await changed.wait()
            assert len(await instance.names("shared", limit=100)) == 40
            assert len(await instance.names("wolves")) == 1
            assert await instance.names("turbine") == ["paper.pdf"]
            assert (await instance.widget())["data"]["documents"] == 42
            assert (await instance.health()).status == "healthy"
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await running.stop()
