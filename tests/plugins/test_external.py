"""Protects plugins in other languages: programs run for each event, and programs that listen, good ones and bad."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points

from mosaicfs_core.documents import ids, times
from mosaicfs_core.hooks import (
    CrawlRequest,
    Create,
    FileEvent,
    FileRecord,
    PluginError,
    QueryRequest,
    RunningPlugin,
    Unavailable,
)
from mosaicfs_core.plugins.running import kinds
from mosaicfs_core.testing.harness import Harness
from mosaicfs_plugins.external import socket
from mosaicfs_plugins.external.programs import Finder, find_program, find_socket

FILE = FileRecord(
    file_id="node-a.u", node_id="node-a", export_path="/a b.txt", name="a b.txt", size=3, mtime=1_000_001, inode=1001
)


def event(sequence: int = 1) -> FileEvent:
    return FileEvent(event="file.added", sequence=sequence, timestamp="t", node_id="node-a", file=FILE)


def program(directory: Path, name: str, text: str, interpreter: str = "/bin/sh") -> Path:
    """An executable script."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / name
    path.write_text(f"#!{interpreter}\n{text}")
    path.chmod(0o700)
    return path


class Bed:
    """A home with the plugin, and instances made in it."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.plugins = harness.home.plugins_dir
        self.changed = asyncio.Event()
        self._running: list[RunningPlugin] = []

    async def instance(self, name: str, kind: str, **fields: Any) -> RunningPlugin:
        node_id = self.harness.core.node_id
        document = {
            "_id": ids.plugin_document_id(node_id, name),
            "type": "plugin",
            "node_id": node_id,
            "plugin_name": name,
            "plugin_type": kind,
            "name": name,
            "subscribed_events": ["file.added"],
            "created_at": times.now_text(),
            "timeout_s": 20,
            **fields,
        }
        await self.harness.store.put(document)
        instance = (await self.harness.instances.refresh())[name]
        assert instance.problem is None
        running = kinds.run(self.harness.core, self.harness.instances, instance, self.changed.set)
        await running.start()
        self._running.append(running)
        return running

    async def until(self, running: RunningPlugin, *, up: bool) -> None:
        async with asyncio.timeout(60):
            while (running.problem is None) is not up:
                self.changed.clear()
                await self.changed.wait()

    async def close(self) -> None:
        for running in self._running:
            await running.stop()


@pytest.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.setattr(socket, "FIRST_PAUSE_S", 0.01)
    points = entry_points(group="mosaicfs", name="external")
    async with Harness.start(tmp_path / "home", plugins=list(points)) as harness:
        made = Bed(harness)
        try:
            yield made
        finally:
            await made.close()


ANNOTATOR = """
given=$(cat)
printf '{"seen": %s, "where": "%s", "me": "%s"}' "$given" "$PWD" "$MOSAICFS_PLUGIN"
"""


async def test_a_program_gets_the_event_and_what_it_prints_is_the_annotation(bed: Bed) -> None:
    program(bed.plugins, "tagger", ANNOTATOR)
    running = await bed.instance("tagger", "executable", config={"depth": 3})
    answer = await running.file_event(event())
    assert answer is not None
    seen = answer["seen"]
    assert (seen["event"], seen["sequence"], seen["config"]) == ("file.added", 1, {"depth": 3})
    assert seen["payload"]["export_path"] == "/a b.txt"
    assert seen["payload"]["mtime"] == "1970-01-01T00:00:01.000001Z"
    assert (answer["where"], answer["me"]) == (str(bed.harness.home.state_dir / "tagger"), "tagger")


async def test_an_empty_object_is_nothing_to_write(bed: Bed) -> None:
    program(bed.plugins, "quiet", "echo '{}'")
    assert await (await bed.instance("quiet", "executable")).file_event(event()) is None


JSON_OF = """json() { printf '{"a": "'; head -c $1 /dev/zero | tr '\\0' x; printf '"}'; }; json"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'no paper' >&2; exit 3", "it ended with exit code 3; it said: no paper"),
        ("kill -9 $$", "it ended with signal 9"),
        ("echo hello", "it printed no JSON"),
        ("true", "it printed no JSON .*: nothing"),
        ("echo '[1]'", "it printed list, not an object"),
        ("yes", r"it printed more than 4,194,304 bytes"),
        (f"{JSON_OF} 104857600", r"it printed more than 4,194,304 bytes"),
        (f"{JSON_OF} 1048577", r"it printed an annotation of more than 1,048,576 bytes"),
        ("head -c 1000000 /dev/zero >&2; exit 1", "it ended with exit code 1"),
        ("sleep 3600", r"it did not finish within 0\.5 s"),
    ],
    ids=["exit", "signal", "text", "nothing", "list", "flood", "100 MB", "large", "noise", "hang"],
)
@pytest.mark.logs("mosaicfs_file_event failed")
async def test_a_program_that_fails_is_an_attempt_with_its_reason(bed: Bed, text: str, said: str) -> None:
    program(bed.plugins, "bad", text)
    running = await bed.instance("bad", "executable", timeout_s=0.5 if "0" in said[-8:] or "noise" in text else 20)
    with pytest.raises(PluginError, match=said):
        await running.file_event(event())


async def gone(pid: int) -> None:
    """Until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_what_a_program_left_running_ends_with_it(bed: Bed, tmp_path: Path) -> None:
    program(bed.plugins, "forker", f"sleep 3600 & echo $! > {tmp_path}/pid; echo '{{}}'")
    await (await bed.instance("forker", "executable")).file_event(event())
    await gone(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_event_ends_its_program(bed: Bed, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program(bed.plugins, "slow", f"echo $$ > {fifo}; exec sleep 3600")
    running = await bed.instance("slow", "executable")
    task = asyncio.create_task(running.file_event(event()))
    pid = int((await asyncio.to_thread(fifo.read_text)).strip())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid)


async def test_a_program_crawls_in_one_object_or_line_by_line(bed: Bed) -> None:
    made = '{"action": "create", "export_path": "%s", "size": 1, "mtime": "2026-01-15T14:30:00.000000Z"}'
    program(bed.plugins, "one", 'echo \'{"files": [' + made % "/one/a" + "]}'")
    program(bed.plugins, "many", f"echo '{made % '/many/a'}'\necho '{made % '/many/b'}'")
    fields: dict[str, Any] = {"provides_filesystem": True, "subscribed_events": []}
    for name, paths in (("one", ["/one/a"]), ("many", ["/many/a", "/many/b"])):
        running = await bed.instance(name, "executable", **fields)
        parts = [part async for part in running.crawl(CrawlRequest(trigger="manual"))]
        assert [operation.export_path for part in parts for operation in part if isinstance(operation, Create)] == paths


LISTER = """
import json, sys
sys.stdin.read()
row = {"action": "create", "size": 1, "mtime": "2026-01-15T14:30:00.000000Z"}
for number in range(60_000):
    print(json.dumps({**row, "export_path": f"/lister/{number:06}" + "x" * 100}))
"""


async def test_a_program_lists_as_much_as_it_wants_line_by_line(bed: Bed) -> None:
    program(bed.plugins, "lister", LISTER, sys.executable)
    running = await bed.instance("lister", "executable", provides_filesystem=True, subscribed_events=[])
    sizes = [len(part) async for part in running.crawl(CrawlRequest(trigger="manual"))]
    assert sum(sizes) == 60_000
    assert max(sizes) <= 500


async def test_a_listing_that_nobody_wants_any_longer_ends_its_program(bed: Bed, tmp_path: Path) -> None:
    text = f"import os; open({os.fspath(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n" + LISTER
    program(bed.plugins, "lister", text, sys.executable)
    running = await bed.instance("lister", "executable", provides_filesystem=True, subscribed_events=[])
    async with aclosing(running.crawl(CrawlRequest(trigger="manual"))) as parts:
        assert await anext(parts)
    await gone(int((tmp_path / "pid").read_text()))


@pytest.mark.logs("plugin lister: mosaicfs_crawl failed")
async def test_what_a_program_named_before_it_failed_stands(bed: Bed) -> None:
    text = LISTER.replace("60_000", "600") + "sys.exit(3)\n"
    program(bed.plugins, "lister", text, sys.executable)
    running = await bed.instance("lister", "executable", provides_filesystem=True, subscribed_events=[])
    named: list[Any] = []

    async def crawl() -> None:
        async for part in running.crawl(CrawlRequest(trigger="manual")):
            named.extend(part)

    with pytest.raises(PluginError, match="it ended with exit code 3"):
        await crawl()
    assert len(named) == 600


@pytest.mark.logs("plugin bad: mosaicfs_crawl failed")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo '{\"files\": 7}'", "it printed no list of files"),
        ("echo nonsense", "it printed no list of files.*nonsense"),
        ('echo \'{"action": "create"\'; head -c 5000000 /dev/zero', "print an operation on each line"),
        ("true", "it printed no list of files"),
        ("echo half; echo why >&2; exit 3", "exit code 3; it said: why"),
    ],
)
async def test_a_listing_that_is_none_fails_with_its_reason(bed: Bed, text: str, said: str) -> None:
    program(bed.plugins, "bad", text)
    running = await bed.instance("bad", "executable", provides_filesystem=True, subscribed_events=[])
    with pytest.raises(PluginError, match=said):
        [part async for part in running.crawl(CrawlRequest(trigger="manual"))]


async def test_slow_programs_take_no_thread_that_others_wait_for(bed: Bed, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    program(
        bed.plugins, "slow", f"cat > /dev/null; echo x >> {tmp_path}/begun; cat {tmp_path}/go > /dev/null; echo '{{}}'"
    )
    running = await bed.instance("slow", "executable")
    tasks = [asyncio.create_task(running.file_event(event(number))) for number in range(40)]
    async with asyncio.timeout(30):
        while not (tmp_path / "begun").exists() or len((tmp_path / "begun").read_text()) < 80:
            await asyncio.to_thread(lambda: None)
        (tmp_path / "go").open("w").close()
        await asyncio.to_thread(lambda: None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_program_answers_questions(bed: Bed) -> None:
    program(bed.plugins, "oracle", 'cat > /dev/null; echo \'{"results": [{"file_id": "n.u", "score": 1}]}\'')
    running = await bed.instance("oracle", "executable", query_endpoints=[{"name": "q", "capability": "search"}])
    assert "mosaicfs_query" in running.hooks
    envelope = await running.query(QueryRequest(capability="search", endpoint="q", query="x"))
    assert envelope.results[0].file_id == "n.u"


def test_only_what_nobody_else_could_have_put_there_is_run(tmp_path: Path) -> None:
    directory = tmp_path / "plugins"
    good = program(directory, "good", "true")
    assert find_program("good", [directory]).path == good
    for name in ("../../bin/sh", "/bin/sh", "Bad", "a/b", "", "good\n"):
        assert "no name of a program" in (find_program(name, [directory]).problem or "")
    (directory / "link").symlink_to("/bin/sh")
    (directory / "inner").symlink_to("good")
    program(directory, "open", "true").chmod(0o707)
    program(directory, "plain", "true").chmod(0o600)
    (directory / "folder").mkdir()
    assert "a link out of its directory" in (find_program("link", [directory]).problem or "")
    assert find_program("inner", [directory]).path == good
    assert "everybody may write" in (find_program("open", [directory]).problem or "")
    assert "is not executable: chmod u+x" in (find_program("plain", [directory]).problem or "")
    assert "no regular file" in (find_program("folder", [directory]).problem or "")
    assert "there is no program missing" in (find_program("missing", [directory]).problem or "")
    directory.chmod(0o777)
    assert "everybody may write" in (find_program("good", [directory]).problem or "")


def test_a_program_that_is_run_often_is_looked_at_again_whenever_something_is_otherwise(tmp_path: Path) -> None:
    directory = tmp_path / "plugins"
    good = program(directory, "good", "true")
    finder = Finder("good", [directory])
    assert finder.find().path == finder.find().path == good
    good.chmod(0o707)
    assert "everybody may write" in (finder.find().problem or "")
    good.chmod(0o700)
    assert finder.find().path == good
    directory.chmod(0o777)
    assert "everybody may write" in (finder.find().problem or "")
    directory.chmod(0o700)
    good.unlink()
    assert "there is no program good" in (finder.find().problem or "")
    good.symlink_to("/bin/sh")
    assert "a link out of its directory" in (finder.find().problem or "")


async def test_a_program_that_comes_later_is_found(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaicfs_plugins.external import executable

    monkeypatch.setattr(executable, "LOOK_S", 0.01)
    running = await bed.instance("later", "executable")
    assert "there is no program later" in (running.problem or "")
    with pytest.raises(Unavailable, match="there is no program later"):
        await running.file_event(event())
    path = program(bed.plugins, "later", "echo '{}'")
    await bed.until(running, up=True)
    path.unlink()
    await bed.until(running, up=False)


SERVER = """
import json, os, socket, sys
directory, path = os.path.split(sys.argv[1])
os.chdir(directory)  # an address has room for a short path alone
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream:
        for line in stream:
            message = json.loads(line)
            if "sequence" in message:
                name = message["payload"]["name"]
                if name == "quit":
                    break
                answer = {"ack": message["sequence"], "annotation": {"name": name}}
            elif message.get("event") == "query":
                answer = {"request_id": message["request_id"], "result": {"results": [{"file_id": "n.u"}]}}
            else:
                continue
            connection.sendall(json.dumps(answer).encode() + b"\\n")
"""


async def listening(bed: Bed, name: str) -> asyncio.subprocess.Process:
    directory = kinds.socket_dir(bed.harness.home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(directory / f"{name}.sock"), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    return child


async def again(bed: Bed, running: RunningPlugin, told: FileEvent) -> Any:
    """Its answer, as soon as it is there again."""
    while True:
        try:
            return await running.file_event(told)
        except Unavailable:
            bed.changed.clear()
            await asyncio.sleep(0)  # the connection's end is noticed by another task
            if running.problem is not None:
                await bed.changed.wait()


async def test_a_program_that_listens_is_connected_to_and_again_when_it_comes_back(bed: Bed) -> None:
    running = await bed.instance("talker", "socket", query_endpoints=[{"name": "q", "capability": "search"}])
    await bed.until(running, up=False)
    assert "nothing listens" in (running.problem or "") or "being connected" in (running.problem or "")
    child = await listening(bed, "talker")
    try:
        await bed.until(running, up=True)
        assert await running.file_event(event()) == {"name": "a b.txt"}
        envelope = await running.query(QueryRequest(capability="search", endpoint="q", query="x"))
        assert envelope.results[0].file_id == "n.u"
        quitting = FileEvent(
            event="file.added",
            sequence=2,
            timestamp="t",
            node_id="n",
            file=FileRecord(file_id="n.u", node_id="n", export_path="/quit", name="quit", size=1, mtime=1, inode=1),
        )
        with pytest.raises(Unavailable, match="it closed the connection"):
            await running.file_event(quitting)
        assert await again(bed, running, event(3)) == {"name": "a b.txt"}
    finally:
        child.kill()
        await child.wait()
    await bed.until(running, up=False)


async def test_many_events_are_under_way_at_once(bed: Bed) -> None:
    child = await listening(bed, "talker")
    try:
        running = await bed.instance("talker", "socket")
        await bed.until(running, up=True)
        answers = await asyncio.gather(*(running.file_event(event(number)) for number in range(64)))
        assert answers == [{"name": "a b.txt"}] * 64
    finally:
        child.kill()
        await child.wait()


def test_a_socket_that_somebody_else_could_have_put_there_is_not_spoken_to(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    directory.mkdir(mode=0o700)
    (directory / "plain.sock").write_text("")
    assert "is no socket" in (find_socket("plain", directory).problem or "")
    assert "nothing listens" in (find_socket("missing", directory).problem or "")
    assert "no name of a program" in (find_socket("../x", directory).problem or "")
    directory.chmod(0o777)
    assert "everybody may write" in (find_socket("plain", directory).problem or "")
    directory.chmod(0o700)


async def test_what_there_is_on_the_node_is_told_with_what_is_wrong(bed: Bed) -> None:
    program(bed.plugins, "good", "true")
    program(bed.plugins, "open", "true").chmod(0o707)
    found = {one.name: one.problem for one in kinds.programs(bed.harness.home, bed.harness.host)}
    assert found["good"] is None
    assert "everybody may write" in (found["open"] or "")
    assert stat.S_IMODE((bed.plugins / "open").stat().st_mode) == 0o707
