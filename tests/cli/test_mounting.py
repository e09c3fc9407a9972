"""Protects the keeper of the mount's process: it comes back when it dies, and its state can be seen."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import children
from mosaicfs_core.cli import mounting
from mosaicfs_core.cli.mounting import MountKeeper
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.stuck import stuck_log
from mosaicfs_core.testing.harness import Harness

MOUNTS = "import sys; print('{}', flush=True); sys.stdin.read()"
REFUSES = "import sys; sys.exit('mosaicfs: there is no FUSE here')"


@pytest.fixture
async def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MountKeeper]:
    """A keeper whose mount is a process that only says that it has mounted."""
    monkeypatch.setattr(children, "PROGRAM", MOUNTS)
    monkeypatch.setattr(mounting, "_FIRST_PAUSE", 0.01)
    async with Harness.start(tmp_path / "home", plugins=[]) as harness:
        made = MountKeeper(harness.core, tmp_path / "mnt")
        yield made
        await made.stop()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process, which tells nobody
            await asyncio.sleep(0.01)


def kill(keeper: MountKeeper) -> int:
    """Kill the mount's process; its pid."""
    process = keeper._process
    assert process is not None
    process.kill()
    return process.pid


def is_another(keeper: MountKeeper, pid: int) -> bool:
    return keeper._process is not None and keeper._process.pid != pid and keeper.subsystem()["status"] == "healthy"


@pytest.mark.logs("^the mount ended")
async def test_a_mount_that_dies_comes_back(keeper: MountKeeper) -> None:
    await keeper.start()
    there = {"status": "healthy", "detail": f"mounted on {keeper.directory}"}
    assert keeper.subsystem() == there
    pid = kill(keeper)
    await eventually(lambda: is_another(keeper, pid))
    assert keeper.subsystem() == there


@pytest.mark.logs("^the mount did not answer for .* and was killed|^the mount ended")
async def test_a_mount_that_stands_still_is_told_and_then_made_anew(
    keeper: MountKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "_LOOK_S", 0.05)
    monkeypatch.setattr(mounting, "SILENT_S", 0.2)
    monkeypatch.setattr(mounting, "LOST_S", 3600.0)
    await keeper.start()
    assert keeper._process is not None
    pid = keeper._process.pid
    await asyncio.sleep(0.5)
    assert keeper.subsystem()["status"] == "healthy", "one that never said anything may be another program's"
    keeper._core.showing.heard(keeper.directory)
    await eventually(lambda: "has not answered for" in keeper.subsystem()["detail"])
    assert keeper.subsystem()["status"] == "degraded"
    keeper._core.showing.heard(keeper.directory)
    await eventually(lambda: keeper.subsystem()["status"] == "healthy")
    monkeypatch.setattr(mounting, "LOST_S", 0.3)
    keeper._core.home.log_dir.mkdir(exist_ok=True)
    stuck_log(keeper._core.home.log_dir, "mount").write_text("at a stranger's code")
    await eventually(lambda: keeper._process is not None and keeper._process.pid != pid)
    told = keeper.subsystem()
    assert told["status"] == "degraded"
    assert Path(told["detail"].rpartition(" ")[2]).read_text() == "at a stranger's code"
    monkeypatch.setattr(mounting, "_TOLD_S", 0.0)
    await eventually(lambda: is_another(keeper, pid))


async def test_why_there_is_no_mount_stays_to_be_seen(keeper: MountKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PROGRAM", REFUSES)
    with pytest.raises(Unavailable, match="there is no FUSE here"):
        await keeper.start()
    assert keeper.subsystem() == {"status": "degraded", "detail": "there is no FUSE here"}


@pytest.mark.logs("^the mount ended|^mounting failed")
@pytest.mark.parametrize("wrong", ["refused", "not started"])
async def test_a_mount_that_cannot_come_back_says_why_and_is_tried_again(
    keeper: MountKeeper, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    await keeper.start()
    with monkeypatch.context() as patch:
        if wrong == "refused":
            patch.setattr(children, "PROGRAM", REFUSES)
            expected = "there is no FUSE here"
        else:
            patch.setattr(sys, "executable", "/nowhere/python")
            expected = "the mount cannot be started: No such file or directory"
        pid = kill(keeper)
        await eventually(lambda: keeper.subsystem() == {"status": "degraded", "detail": expected})
    await eventually(lambda: is_another(keeper, pid))


@pytest.mark.logs("^the mount ended|^mount keeper failed and starts again")
async def test_an_unforeseen_error_is_told_and_does_not_end_the_keeping(
    keeper: MountKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("nobody thought of this")

    await keeper.start()
    with monkeypatch.context() as patch:
        patch.setattr(children, "start_here", fail)
        pid = kill(keeper)
        await eventually(lambda: "mount keeper" in keeper._core.failing)
    await eventually(lambda: is_another(keeper, pid))


async def test_unmounted_on_purpose_it_is_left_alone(keeper: MountKeeper) -> None:
    await keeper.start()
    process = keeper._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    await eventually(lambda: "it was unmounted" in keeper.subsystem()["detail"])
    assert keeper.subsystem()["status"] == "healthy"
    keeper._core.mounts |= {keeper.directory}  # as the agent notes one that was mounted by hand
    assert keeper.subsystem()["detail"] == f"mounted on {keeper.directory}"
