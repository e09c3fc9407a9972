"""Protects the host from plugins at their worst, as a user sees it: the agent goes on, the reason is visible, and what
can be done is done, once the disk has room or the plugin is mended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points
from tests.agent.test_faults import mounted
from tests.plugins_host.work_bed import Annotator, annotator, bed
from tests.plugins_host.work_bed import Bed as BedOfTree

from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.jobs import keeper, worker
from mosaicfs_core.documents import ids, times
from mosaicfs_core.jobs import Counts
from mosaicfs_core.plugins.prefixes import tombstone_of
from mosaicfs_core.plugins.running import child
from mosaicfs_core.testing.harness import Harness, plugin_at

__all__ = ["annotator", "bed"]

PACKAGE = """
import asyncio, os, pathlib, signal, sys
from mosaicfs_core.hooks import *

here = pathlib.Path(__file__).parent
if "serve" in sys.argv and (here / "broken").exists():
    os._exit(3)

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Trouble", description="Makes trouble.", version="1", hook_api=HOOK_API, isolate=True,
                          subscribed_events=("file.added",), mime_globs=("text/*",))

@hookimpl
async def mosaicfs_file_event(context, event):
    with open(here / "given", "a") as told:
        told.write(event.file.name + "\\n")
    if (here / "slow").exists():
        await asyncio.sleep(0.05)
    if event.file.name.startswith("poison"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"pid": os.getpid()}
"""


class Bed(BedOfTree):
    """A home whose agent watches ``tree``, with a plugin ``trouble`` of the test's own."""

    async def said(self) -> Mapping[str, Mapping[str, Any]]:
        """The annotations of ``trouble`` by the file's name."""
        found = await self.harness.store.read(lambda reader: reader.documents_of("annotation.plugin", ("trouble",)))
        return {one["export_path"].rpartition("/")[2]: one for one in found}

    async def failed(self, agent: Agent) -> int:
        return (await agent.jobs.queue.standing("trouble")).counts.failed

    async def idle(self, agent: Agent) -> bool:
        standing = await agent.jobs.queue.standing("trouble")
        return standing.sync is None and not standing.counts.pending and not standing.counts.in_flight

    def write(self, *names: str) -> None:
        for name in names:
            (self.tree / name).write_text(name)


@asynccontextmanager
async def running(home: Path, tree: Path, *plugins: Any) -> AsyncIterator[Bed]:
    points = [*entry_points(group="mosaicfs", name="localfs"), *plugins]
    async with asyncio.timeout(50), Harness.start(home, plugins=points) as harness:
        await harness.instance("localfs", {"paths": [str(tree)]})
        yield Bed(harness, tree)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the module of ``trouble`` lies."""
    directory = tmp_path / "lib"
    directory.mkdir()
    (directory / "trouble_plugin.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(directory))
    monkeypatch.setenv("PYTHONPATH", str(directory))
    monkeypatch.setattr(child, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(child, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(child, "GRACE_S", 0.5)
    monkeypatch.setattr(worker, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(keeper, "DISCONNECTED_S", 0.05)
    return directory


@pytest.fixture
async def isolated(library: Path, tmp_path: Path) -> AsyncIterator[Bed]:
    tree = tmp_path / "tree"
    tree.mkdir()
    async with running(tmp_path / "home", tree, plugin_at("trouble", "trouble_plugin")) as bed:
        await bed.harness.instance("trouble")
        yield bed


def given(library: Path) -> list[str]:
    return (library / "given").read_text().split()


def why(agent: Agent) -> str:
    """Why ``trouble`` does not work, in the agent's status."""
    return str(agent.status()["subsystems"]["plugins"])


@pytest.mark.logs("its process will be started again")
async def test_a_package_that_crashes_at_start_is_told_of_and_goes_on_when_mended(isolated: Bed, library: Path) -> None:
    (library / "broken").touch()
    isolated.write("a.txt", "b.txt")
    async with isolated.agent() as agent:
        key = "plugin_disconnected:trouble"
        told = await isolated.until(lambda: isolated.notification(key))
        assert "did not start" in told["message"]
        assert "did not start" in why(agent)
        assert "did not start" in agent.jobs.waits("trouble")
        assert (await agent.jobs.queue.standing("trouble")).counts.pending == 2
        (library / "broken").unlink()
        await isolated.until(lambda: isolated.idle(agent))
        assert (await isolated.said()).keys() == {"a.txt", "b.txt"}
        await isolated.until(lambda: (isolated.notification(key) or {}).get("status") == "resolved")
    assert sorted(given(library)) == ["a.txt", "b.txt"]


@pytest.mark.logs("its process will be started again|SIGSEGV")
async def test_a_package_that_every_third_file_crashes_processes_the_others(isolated: Bed, library: Path) -> None:
    names = [f"poison-{number}.txt" if number % 3 == 0 else f"{number}.txt" for number in range(9)]
    isolated.write(*names)
    document = ids.plugin_document_id(isolated.harness.core.node_id, "trouble")
    await isolated.harness.store.update(document, lambda present: {**(present or {}), "max_attempts": 1})
    async with isolated.agent() as agent:
        await isolated.until(lambda: isolated.idle(agent))
        said = await isolated.said()
        assert {name: one["status"] for name, one in said.items()} == {
            name: "failed" if name.startswith("poison") else "ok" for name in names
        }
        assert "SIGSEGV" in said["poison-0.txt"]["error"]
        page = await agent.jobs.queue.jobs("trouble", "failed")
        assert sorted(str(job.export_path).rpartition("/")[2] for job in page.items) == [
            f"poison-{number}.txt" for number in (0, 3, 6)
        ]
        assert isolated.notification("plugin_jobs_failed:trouble")
    # What was in the same hands as the first culprit comes again, alone; no culprit comes for ever.
    assert all(given(library).count(name) <= 2 for name in names)


@pytest.mark.logs("its process will be started again|SIGKILL|No module named")
async def test_a_package_that_is_uninstalled_under_load_loses_nothing(isolated: Bed, library: Path) -> None:
    names = [f"{number}.txt" for number in range(60)]
    isolated.write(*names)
    module, away = library / "trouble_plugin.py", library / "away"
    (library / "slow").touch()  # so that there is much to do when it goes
    async with isolated.agent() as agent:
        first = await isolated.until(isolated.said)
        module.rename(away)
        os.kill(next(iter(first.values()))["data"]["pid"], signal.SIGKILL)
        isolated.write("later.txt")
        await isolated.until(lambda: "No module named" in why(agent))
        await isolated.until(lambda: isolated.notification("plugin_disconnected:trouble"))
        assert (await agent.jobs.queue.standing("trouble")).counts.pending
        away.rename(module)
        await isolated.until(lambda: isolated.idle(agent))
        said = await isolated.said()
        assert {name: one["status"] for name, one in said.items()} == dict.fromkeys([*names, "later.txt"], "ok")
        assert await isolated.failed(agent) == 0


async def _switch_off(bed: BedOfTree) -> None:
    await bed.change(enabled=False)


async def _delete(bed: BedOfTree) -> None:
    core = bed.harness.core
    document = await bed.harness.store.get(ids.plugin_document_id(core.node_id, "annotator"))
    assert document is not None
    tombstone = tombstone_of(dict(document), core.host.manifest_of("annotator"))
    await bed.harness.store.put({**tombstone, "_rev": document["_rev"]})


@pytest.mark.parametrize("end", [_switch_off, _delete], ids=["disabled", "deleted"])
async def test_an_instance_that_goes_under_load_leaves_nothing_half_done(
    bed: BedOfTree, annotator: Annotator, end: Callable[[BedOfTree], Any]
) -> None:
    names = {f"{number}.txt" for number in range(90)}
    gate = asyncio.Event()

    async def answer(event: Any) -> dict[str, int]:
        if len(annotator.events) > 20:
            await gate.wait()
        return {"size": 1}

    annotator.answer = answer
    for name in names:
        (bed.tree / name).write_text("x")
    async with bed.agent() as agent:
        await bed.until(lambda: len(annotator.events) > 20)
        await end(bed)
        await bed.until(lambda: agent.jobs.waits("annotator") == "The plugin does not run.")
        seen, _ = len(annotator.events), gate.set()
        if end is _delete:
            await bed.until(lambda: _none_left(bed))
            with pytest.raises(Exception, match="There is no plugin instance"):
                await agent.jobs.queue.standing("annotator")
            assert len(annotator.events) == seen
            return
        counts = await bed.until(lambda: _landed(agent))
        assert counts.pending >= 50
        assert counts.failed == 0
        assert len(annotator.events) == seen
        done = {name for name, one in (await bed.annotations()).items() if one["status"] == "ok"}
        await bed.change(enabled=True)
        await bed.until(lambda: _annotated(bed, names))
    files = [name for event, name in annotator.seen() if event.startswith("file.")]
    assert all(files.count(name) == 1 for name in done)
    assert len(files) <= len(names) + 2  # those that were at the plugin when it was switched off


async def _landed(agent: Agent) -> Counts | None:
    """The counts, once nothing is in flight: an answer may be being stored still."""
    counts = (await agent.jobs.queue.standing("annotator")).counts
    return None if counts.in_flight else counts


async def _none_left(bed: BedOfTree) -> bool:
    return not await bed.annotations()


async def _annotated(bed: BedOfTree, names: set[str]) -> bool:
    return (await bed.annotations()).keys() == names


FILLING = """#!/bin/sh
read -r given
echo given >>"{log}"
cat /dev/zero >big 2>/dev/null
echo '{{"full": true}}'
"""


@pytest.mark.logs("(?i)full|cannot be (written|stored)|Broken pipe|No space")
async def test_a_program_that_fills_the_disk_is_not_run_again_for_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FIRST_PAUSE_S", 0.05)
    home, tree, log = tmp_path / "home", tmp_path / "tree", tmp_path / "given"
    home.mkdir()
    tree.mkdir()
    (tree / "a.txt").write_text("a")
    with mounted(home, "-o", "size=16m"):
        async with running(home, tree, *entry_points(group="mosaicfs", name="external")) as bed:
            program = bed.harness.home.plugins_dir / "trouble"
            program.parent.mkdir(mode=0o700)
            program.write_text(FILLING.format(log=log))
            program.chmod(0o700)
            await bed.harness.store.put(_of_program(bed.harness.core.node_id))
            async with bed.agent() as agent:
                await bed.until(lambda: "an answer cannot be stored" in caplog.text)
                assert os.statvfs(home).f_bavail < 16
                (bed.harness.home.state_dir / "trouble" / "big").unlink()
                said = await bed.until(bed.said)
                assert said["a.txt"]["data"] == {"full": True}
                # And the agent goes on with its own work, the next file included.
                (tree / "b.txt").write_text("b")
                await bed.until(lambda: len(log.read_text().split()) == 2)
                (bed.harness.home.state_dir / "trouble" / "big").unlink()
                await bed.until(lambda: bed.idle(agent))
                assert (await bed.said()).keys() == {"a.txt", "b.txt"}
    assert log.read_text().split() == ["given", "given"]


def _of_program(node_id: str) -> dict[str, Any]:
    return {
        "_id": ids.plugin_document_id(node_id, "trouble"),
        "type": "plugin",
        "node_id": node_id,
        "plugin_name": "trouble",
        "plugin_type": "executable",
        "name": "trouble",
        "subscribed_events": ["file.added"],
        "created_at": times.now_text(),
    }
