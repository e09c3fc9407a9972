"""Protects the machine from programs whose MosaicFS was killed: they end at once, with all that they have started."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from processes import ended

from mosaicfs_plugins.external import lifeline as lifeline_module
from mosaicfs_plugins.external.lifeline import MARK, Groups, Lifeline

PROGRAM = """#!/bin/sh
read -r given
env -i sleep 3600 &
echo $! >told
setsid sh -c 'echo $$ >told; read -r nothing <never' &
echo $$ >told
exec sleep 3600
"""
"""Has a child that shows no mark and another one in a session of its own, and sleeps."""
PARENT = """
import asyncio, sys
from pathlib import Path
from mosaicfs_plugins.external.execution import Execution
from mosaicfs_plugins.external.lifeline import Lifeline

async def main():
    lifeline = Lifeline()
    groups = await lifeline.hold()
    execution = Execution({"PATH": "/usr/bin:/bin", **lifeline.environment}, groups)
    await asyncio.to_thread(execution.run, Path(sys.argv[1]) / "program", Path(sys.argv[1]), b"x\\n", 3600)

asyncio.run(main())
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of the processes of others")


def guards_of(parent: int) -> list[int]:
    """The processes that watch over the programs of a process."""
    found = []
    for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            command = Path(f"/proc/{number}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"survivors.py" in command:
            found.append(int(number))
    return found


async def guard_of(parent: int, before: int = 0) -> int:
    """The one there is, or that came for another one, as soon as it shows what it is."""
    while not (found := [pid for pid in guards_of(parent) if pid != before]):
        await asyncio.to_thread(lambda: None)
    return found[0]


def first_lines(descriptor: int, number: int) -> list[bytes]:
    """So many lines out of a pipe, which is closed then."""
    with open(descriptor, "rb", buffering=0) as lines:
        return [lines.readline() for _ in range(number)]


@pytest.mark.parametrize("meanwhile", ["nothing", "its guard was killed"])
async def test_programs_end_with_a_mosaicfs_that_is_killed(tmp_path: Path, meanwhile: str) -> None:
    for name in ("told", "never"):
        os.mkfifo(tmp_path / name)
    told = os.open(tmp_path / "told", os.O_RDWR)
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    async with asyncio.timeout(40):
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PARENT, str(tmp_path)), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            processes = [os.pidfd_open(int(line)) for line in await asyncio.to_thread(first_lines, told, 3)]
            if meanwhile != "nothing":
                guard = await guard_of(parent.pid)
                os.kill(guard, signal.SIGKILL)
                await guard_of(parent.pid, guard)
            processes.append(os.pidfd_open(await guard_of(parent.pid)))
        finally:
            parent.kill()
            await parent.wait()
        await asyncio.gather(*map(ended, processes))


async def test_what_watches_is_one_and_ends_with_the_last_that_needs_it() -> None:
    lifeline, own = Lifeline(), os.getpid()
    assert guards_of(own) == []
    async with asyncio.timeout(40):
        assert await lifeline.hold() is await lifeline.hold()
        guard = await guard_of(own)
        await lifeline.release()
        assert guards_of(own) == [guard]
        await lifeline.release()
        assert guards_of(own) == []
        await lifeline.hold()
        assert await guard_of(own) != guard
        await lifeline.release()


async def test_what_a_program_left_elsewhere_ends_with_the_last_that_runs_programs() -> None:
    lifeline = Lifeline()
    async with asyncio.timeout(40):
        await lifeline.hold()
        left, others = [
            await asyncio.create_subprocess_exec("sleep", "3600", env=one.environment, start_new_session=True)
            for one in (lifeline, Lifeline())
        ]
        await lifeline.release()
        assert await left.wait() == -signal.SIGKILL
        assert others.returncode is None
        others.kill()
        assert await others.wait() == -signal.SIGKILL


@pytest.mark.logs(r"what ends programs when MosaicFS is killed has ended with -9, and is started again in 0\.1 s")
async def test_another_one_comes_for_one_that_was_killed() -> None:
    lifeline = Lifeline()
    async with asyncio.timeout(40):
        await lifeline.hold()
        guard = await guard_of(os.getpid())
        os.kill(guard, signal.SIGKILL)
        assert await guard_of(os.getpid(), guard)
        await lifeline.release()
        assert guards_of(os.getpid()) == []


@pytest.mark.logs("cannot be started .No such file or directory., and is started again")
async def test_programs_run_all_the_same_where_it_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline_module.sys, "executable", "/nowhere/python")
    lifeline = Lifeline()
    async with asyncio.timeout(10):
        groups = await lifeline.hold()
        groups.leave(groups.take())
        await lifeline.release()


async def test_it_is_given_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSAICFS_SECRET", "secret")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)  # which is passed on, and libraries set it when imported
    lifeline = Lifeline()
    async with AsyncExitStack() as stack:
        inherited = os.open("/dev/null", os.O_RDONLY)
        stack.callback(os.close, inherited)
        os.set_inheritable(inherited, True)
        await lifeline.hold()
        stack.push_async_callback(lifeline.release)
        guard = await guard_of(os.getpid())
        assert Path(f"/proc/{guard}/environ").read_bytes() == b""
        assert len(lifeline.environment[MARK]) == 32
        shared = {os.readlink(f"/proc/{guard}/fd/{number}") for number in (0, 1, 2)}
        assert any("mosaicfs programs" in name for name in shared)
        assert os.getpgid(guard) == guard


def test_a_place_is_used_again_and_none_that_is_not_there() -> None:
    groups = Groups()
    places = [groups.take() for _ in range(lifeline_module._PLACES)]
    assert sorted(places) == list(range(lifeline_module._PLACES))
    with pytest.raises(OSError, match="4,096 programs are running") as refused:
        groups.take()
    assert refused.value.errno == errno.EAGAIN
    groups.enter(7, 4711)
    assert os.pread(groups.file.fileno(), 4, 28) == (4711).to_bytes(4, sys.byteorder)
    groups.leave(7)
    assert os.pread(groups.file.fileno(), 4, 28) == bytes(4)
    groups.close()
    assert groups.take() == 7
    groups.leave(7)
