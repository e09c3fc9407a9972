"""Protects the host from programs that say odd things or nothing, and from those that do not listen: they pay for it
themselves, it is told, and what comes next works."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from processes import ended

from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import FileEvent, FileRecord, Page, RunningPlugin
from mosaicfs_core.hooks.wire import channel as channel_module
from mosaicfs_core.plugins.running import child
from mosaicfs_core.plugins.running.child import Child
from mosaicfs_plugins.external import socket
from mosaicfs_plugins.external.executable import Executable
from mosaicfs_plugins.external.lifeline import Lifeline
from mosaicfs_plugins.external.socket import SocketPlugin

FILE = FileRecord(file_id="n.u", node_id="n", export_path="/a", name="a", size=1, mtime=1, inode=1001)
PROGRAM = """
import json, os, socket, sys, time
path = sys.argv[-1]
try:
    os.unlink(path)
except OSError:
    pass
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print(json.dumps({"listening": path}), flush=True)
connections = 0
while True:
    connection, _ = listener.accept()
    connections += 1
    lines = connection.makefile("rb")
    def say(line):
        connection.sendall(line + b"\\n")
    def event():
        while True:
            message = json.loads(lines.readline() or b'{"event": "end"}')
            if message.get("event"):
                return message
"""
ANSWERS = """
    while (message := event())["event"] != "end":
        number = message["sequence"]
        if number == 1:
            ODD
        else:
            say(b'{"ack": %d, "annotation": {"fine": %d}}' % (number, connections))
"""


def event(sequence: int) -> FileEvent:
    return FileEvent(event="file.added", sequence=sequence, timestamp="t", node_id="n", file=FILE)


class Plugin:
    """The context of the instance: what a program calls ends here."""

    instance, node_id, config, prefix, excluded = "odd", "n", {"x": 1}, "", ()

    def __init__(self, directory: Path) -> None:
        self.state_dir = self.files_dir = directory

    async def find_files(self, query: Any) -> Page[FileRecord]:
        return Page(items=(FILE,) * 50, total=50, offset=0, limit=50)


class Surroundings:
    """A ``KindContext``."""

    package, document = "odd", {}  # type: ignore[var-annotated]  # nothing is in it

    def __init__(self, directory: Path) -> None:
        self.plugin: Any = Plugin(directory)
        self.timeout_s = 20.0
        self.socket_dir = directory / "sockets"
        self.plugin_dirs = (directory / "programs",)
        self.news = asyncio.Event()

    async def notify(self, notice: Any) -> None:
        raise Unavailable("database or disk is full")

    def changed(self) -> None:
        self.news.set()


class Bed:
    """A program of its own making, run as a plugin."""

    def __init__(self, running: RunningPlugin, context: Surroundings) -> None:
        self.running, self.context = running, context

    async def until(self, *, up: bool) -> None:
        while (self.running.problem is None) is not up:
            self.context.news.clear()
            await self.context.news.wait()

    async def send(self, number: int) -> Any:
        """Have it do an event as soon as it is there."""
        while True:
            try:
                return await self.running.file_event(event(number))
            except Unavailable:
                self.context.news.clear()
                await self.context.news.wait()


@asynccontextmanager
async def speaking(directory: Path, kind: str, text: str) -> AsyncIterator[Bed]:
    """A program that speaks the protocol itself, as one that listens or as a child."""
    context = Surroundings(directory)
    context.socket_dir.mkdir(mode=0o700)
    program = directory / "program.py"
    program.write_text(PROGRAM + text)
    command = [sys.executable, os.fspath(program)]
    process = None
    running: RunningPlugin
    if kind == "socket":
        path = context.socket_dir / "odd.sock"
        process = await asyncio.create_subprocess_exec(*command, str(path), stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline()
        running = SocketPlugin(context)
    else:
        running = Child(lambda: command, frozenset({"mosaicfs_file_event"}), 2, context)
    async with asyncio.timeout(60):
        await running.start()
        bed = Bed(running, context)
        try:
            await context.news.wait()
            await bed.until(up=True)
            yield bed
        finally:
            if process is not None:
                process.kill()
                await process.wait()
            await running.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(child, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(child, "GRACE_S", 0.2)


ODD = {
    "bytes": b'{"ack": 1, "annotation": {"a": "\xff\xfe"}}',
    "infinite": b'{"ack": 1, "annotation": {"a": 1e999}}',
    "digits": b'{"ack": 1, "annotation": {"a": ' + b"9" * 5000 + b"}}",
    "nested": b'{"ack": 1, "annotation": {"a": ' + b"[" * 2000 + b"]" * 2000 + b"}}",
    "list": b'{"ack": 1, "annotation": [1]}',
    "surrogate": b'{"ack": 1, "annotation": {"a": "\\ud800"}}',
    "error": b'{"ack": 1, "error": "\xff"}',
}


@pytest.mark.parametrize("kind", ["socket", "isolated"])
@pytest.mark.parametrize("name", list(ODD))
async def test_an_odd_answer_is_an_attempt_and_the_connection_stays(kind: str, name: str, tmp_path: Path) -> None:
    async with speaking(tmp_path, kind, ANSWERS.replace("ODD", f"say({ODD[name]!r})")) as bed:
        with pytest.raises(PluginError, match=r"answered with (an annotation that is|what cannot be read)"):
            await bed.running.file_event(event(1))
        assert await bed.running.file_event(event(2)) == {"fine": 1}
        assert bed.running.problem is None


@pytest.mark.logs("its process will be started again|a notification of plugin odd is lost: database or disk is full")
@pytest.mark.parametrize("kind", ["socket", "isolated"])
async def test_a_notice_that_cannot_be_kept_hurts_nobody(kind: str, tmp_path: Path) -> None:
    notice = b'{"notification": {"key": "k", "severity": "info", "title": "t"}}'
    text = ANSWERS.replace("ODD", f"""say({notice!r}); say(b'{{"ack": 1, "annotation": {{"fine": 0}}}}')""")
    async with speaking(tmp_path, kind, text) as bed:
        assert await bed.running.file_event(event(1)) == {"fine": 0}
        assert await bed.running.file_event(event(2)) == {"fine": 1}


@pytest.mark.logs("its process will be started again")
@pytest.mark.parametrize("kind", ["socket", "isolated"])
async def test_a_line_that_is_none_ends_the_connection_and_another_one_works(kind: str, tmp_path: Path) -> None:
    text = ANSWERS.replace("ODD", "say(b'what?')")
    async with speaking(tmp_path, kind, text) as bed:
        with pytest.raises(PluginError if kind == "isolated" else Unavailable, match="no message of the protocol"):
            await bed.running.file_event(event(1))
        assert (await bed.send(2)).keys() == {"fine"}


@pytest.mark.logs("its process will be started again|the (child|connection)")
@pytest.mark.parametrize("kind", ["socket", "isolated"])
async def test_what_nobody_foresaw_of_a_connection_is_told_and_another_one_works(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with speaking(tmp_path, kind, ANSWERS.replace("ODD", "say(b'{\"ack\": 1}')")) as bed:
        told: list[str] = []

        def changed() -> None:
            told.append(str(bed.running.problem))
            bed.context.news.set()

        monkeypatch.setattr(bed.context, "changed", changed)
        with monkeypatch.context() as patched:

            def odd(line: bytes) -> Any:
                raise LookupError("a mistake of ours")

            patched.setattr(channel_module.messages, "from_plugin", odd)
            with pytest.raises((PluginError, Unavailable), match=r"a mistake of ours|not connected"):
                await bed.running.file_event(event(1))
            while "LookupError: a mistake of ours" not in told:
                bed.context.news.clear()
                await bed.context.news.wait()
        assert (await bed.send(2)).keys() == {"fine"}


FLOOD = """
    number = 0
    while True:
        number += 1
        say(b'{"call": "find_files", "id": %d, "params": {"query": {}}}' % number)
"""


@pytest.mark.logs("its process will be started again")
@pytest.mark.parametrize("kind", ["socket", "isolated"])
async def test_one_that_calls_and_does_not_read_is_heard_no_further_and_hung_up_on(kind: str, tmp_path: Path) -> None:
    async with speaking(tmp_path, kind, FLOOD) as bed:
        bed.context.timeout_s = 0.3
        await bed.until(up=False)
        assert bed.running.problem == "it does not read what it is told"


@pytest.mark.logs("its process will be started again")
@pytest.mark.parametrize("kind", ["socket", "isolated"])
async def test_one_that_does_not_read_is_ended_all_the_same(kind: str, tmp_path: Path) -> None:
    async with speaking(tmp_path, kind, "    time.sleep(3600)\n") as bed:
        large = [msgspec.structs.replace(event(number), timestamp="t" * 500_000) for number in range(4)]
        events = [asyncio.create_task(bed.running.file_event(one)) for one in large]
        await asyncio.sleep(0)  # they have begun
        async with asyncio.timeout(10):
            await bed.running.stop()
        outcomes = await asyncio.gather(*events, return_exceptions=True)
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)


@asynccontextmanager
async def started(context: Surroundings) -> AsyncIterator[Executable]:
    """The program of the context, run for each event."""
    running = Executable(context, Lifeline())
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.mark.parametrize(
    "said", ['{"a": "\\377"}', '{"a": 1e999}', "[1]", "{"], ids=["bytes", "infinite", "list", "cut"]
)
async def test_a_program_that_prints_odd_things_has_made_an_attempt(said: str, tmp_path: Path) -> None:
    context = Surroundings(tmp_path)
    directory = context.plugin_dirs[0]
    directory.mkdir(mode=0o700)
    (directory / "odd").write_text(f"#!/bin/sh\ncat > /dev/null\nprintf '{said}'\n")
    (directory / "odd").chmod(0o700)
    with pytest.raises(PluginError, match="it printed"):
        async with started(context) as running:
            await running.file_event(event(1))


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells of the end of any process")
async def test_what_a_program_left_behind_holds_no_answer_and_ends_with_the_plugin(tmp_path: Path) -> None:
    context = Surroundings(tmp_path)
    directory = context.plugin_dirs[0]
    directory.mkdir(mode=0o700)
    (directory / "odd").write_text(
        textwrap.dedent(
            f"""\
            #!{sys.executable}
            import os, sys, time
            sys.stdin.read()
            ready, go = os.pipe()
            if os.fork() == 0:
                os.setsid()
                os.write(go, str(os.getpid()).encode())
                while True:
                    os.write(2, b"still here")
                    time.sleep(0.01)
            print('{{"pid": ' + os.read(ready, 100).decode() + '}}', flush=True)
            """
        )
    )
    (directory / "odd").chmod(0o700)
    context.timeout_s = 20.0
    async with asyncio.timeout(10):
        async with started(context) as running:
            answer = await running.file_event(event(1))
            assert answer is not None
            left = os.pidfd_open(answer["pid"])
        await ended(left)
