"""From an empty home to a tree that can be browsed, over a crash, and to a clean end; and what is refused before."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.cli.commands.up import FIRST_CRAWL_SECONDS


def can_mount() -> bool:
    """Whether this machine lets us mount."""
    try:
        import pyfuse3  # noqa: F401 - whether it can be imported is the question
    except ImportError:
        return False
    return os.access("/dev/fuse", os.R_OK | os.W_OK)


def mount_process(directory: Path) -> int:
    """The pid of the process that serves a mount."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--tied" in words and os.fsencode(directory) in words:
            return int(entry.name)
    raise AssertionError("no process serves the mount")


def fresh_is(path: Path) -> bool:
    """Whether a file can be read through the mount now."""
    try:
        return path.read_text() == "fresh"
    except OSError:
        return False


def test_from_an_empty_home_over_a_crash_to_a_clean_end(machine: Any, eventually: Any) -> None:
    up = machine.up("--no-mount", str(machine.tree))
    facts = up.wait_ready()
    assert facts["roots"] == [str(machine.tree)]
    report = machine.tree / "Work" / "2025" / "report.txt"

    # The command line.
    assert machine.run("status")["info"]["documents"]["file"] == 3
    found = machine.file(report)
    target = machine.tree.parent / "fetched.txt"
    machine.run("files", "fetch", found["id"], "-o", str(target))
    assert target.read_bytes() == report.read_bytes()
    nodes = machine.run("nodes", "list")["items"]
    assert {node["id"] for node in nodes} >= {facts["node_id"]}
    assert machine.run("nodes", "rename", facts["node_id"], "Attic")["friendly_name"] == "Attic"
    assert machine.run("system", "health")["status"] == "healthy"

    # HTTP, signed in by the printed link, which works once.
    url, _, token = facts["login_link"].partition("/#bootstrap=")
    status, headers, body = machine.http(f"{url}/api/auth/bootstrap", body={"token": token})
    assert status == 200
    assert "HttpOnly" in headers["Set-Cookie"]
    session = json.loads(body)
    assert machine.http(f"{url}/api/auth/bootstrap", body={"token": token})[0] == 401
    content = f"{url}/api/files/{found['id']}/content"
    assert machine.http(content, token=session["access_token"], Range="bytes=4-9")[::2] == (206, b"report")
    assert machine.http(content)[0] == 401
    assert machine.http(url + "/")[0] == 200

    # A second start on the same home refuses and says who has it.
    refused = machine.up("--no-mount")
    _, errors = refused.process.communicate(timeout=60)
    assert refused.process.returncode == 1
    assert f"in use by process {up.process.pid}" in errors.decode()

    # Killed at once: nothing is lost, and what changed meanwhile is found.
    up.end(signal.SIGKILL)
    assert machine.run("status", code=3)["error"]["code"] == "unreachable"
    report.rename(report.with_name("renamed.txt"))
    (machine.tree / "new.txt").write_text("new")
    up = machine.up("--no-mount")
    facts = up.wait_ready()
    url = facts["url"]
    assert facts["roots"] == [str(machine.tree)]
    assert machine.file(report.with_name("renamed.txt"))["id"] == found["id"]
    assert machine.file(machine.tree / "new.txt")["size"] == 3
    login = session["created"]
    status, _, body = machine.http(f"{url}/api/auth/login", body=login)
    assert status == 200

    # It follows changes.
    (machine.tree / "later.txt").write_text("later")
    files = f"{url}/api/files?export_path={machine.tree}/later.txt"
    token = json.loads(body)["access_token"]
    eventually(lambda: json.loads(machine.http(files, token=token)[2])["total"])

    # Ended politely, it leaves no trace of running.
    assert up.end(signal.SIGINT) == 0
    assert [path for path in (machine.home / "run").rglob("*") if not path.is_dir()] == []
    assert all(row["status"] != "failed" for row in machine.run("doctor"))


def test_other_folders_later_are_added(machine: Any) -> None:
    other = machine.tree.parent / "other"
    other.mkdir()
    (other / "file.txt").write_text("x")
    up = machine.up("--no-mount", str(machine.tree))
    up.wait_ready()
    assert up.end() == 0
    up = machine.up("--no-mount", str(other), str(machine.tree / "Work"))
    assert up.wait_ready()["roots"] == [str(machine.tree), str(other)]
    assert machine.file(other / "file.txt")["size"] == 1
    assert up.end() == 0


@pytest.mark.fuse
@pytest.mark.skipif(not can_mount(), reason="this machine does not let us mount")
def test_the_mount_comes_and_goes_with_it(machine: Any, eventually: Any) -> None:
    def mounted() -> bool:
        return str(machine.mount) in Path("/proc/self/mountinfo").read_text()

    up = machine.up("--mount", str(machine.mount), str(machine.tree))
    facts = up.wait_ready()
    assert facts["mount"] == str(machine.mount), facts["mount_problem"]
    part = machine.run("status")["status"]["subsystems"]["vfs_mount"]
    assert part == {"status": "healthy", "detail": f"mounted on {machine.mount}"}
    found = list(machine.mount.glob("machines/*/tree/Work/2025/report.txt"))
    assert [path.read_text() for path in found] == ["the report\n"]
    (machine.tree / "Work" / "fresh.txt").write_text("fresh")
    fresh = found[0].parents[1] / "fresh.txt"
    eventually(fresh.exists)
    assert fresh.read_text() == "fresh"

    # A file that the mount shows is the file itself, by its path there as well.
    machine.run("labels", "add", str(fresh), "new")
    assert "new" in json.dumps(machine.run("labels", "show", str(machine.tree / "Work" / "fresh.txt")))
    assert machine.run("files", "stat", str(fresh))["id"] == machine.file(machine.tree / "Work" / "fresh.txt")["id"]

    refused = machine.run("labels", "rules", "add", str(fresh.parent), "new", code=2)
    assert "name the folder where its files really are" in refused["error"]["message"]
    beside = machine.tree.parent / "beside"
    beside.symlink_to(machine.mount)
    assert "new" in json.dumps(machine.run("labels", "show", str(beside / fresh.relative_to(machine.mount))))

    # A mount whose process dies comes back.
    os.kill(mount_process(machine.mount), signal.SIGKILL)
    eventually(lambda: not fresh_is(fresh), 30)
    eventually(lambda: fresh_is(fresh), 30)

    # Unmounted on purpose, it stays away until somebody mounts it again.
    machine.run("unmount", str(machine.mount))
    logs = machine.home / "logs"
    eventually(lambda: any("the mount was unmounted" in log.read_text() for log in logs.glob("*.log")))
    assert not mounted()
    machine.run("mount", str(machine.mount))
    assert fresh_is(fresh)
    machine.run("unmount", str(machine.mount))

    up.end(signal.SIGKILL)
    up = machine.up("--mount", str(machine.mount))
    assert up.wait_ready()["mount"] == str(machine.mount)
    assert found[0].read_text() == "the report\n"
    assert up.end() == 0
    assert not mounted()


@pytest.mark.fuse
@pytest.mark.skipif(not can_mount(), reason="this machine does not let us mount")
def test_mounts_inside_a_watched_folder_are_not_indexed(machine: Any, eventually: Any) -> None:
    """Neither the one that comes with it nor others, whose directories do not exist before."""

    def files() -> int:
        count: int = machine.run("system", "info")["documents"]["file"]
        return count

    inside = machine.tree / "new" / "mount"
    up = machine.up("--mount", str(inside), str(machine.tree))
    assert up.wait_ready()["mount"] == str(inside), up.facts["mount_problem"]
    second = machine.tree / "Work" / "second"
    machine.run("mount", str(second))
    try:
        time.sleep(1.0)  # what changes on disk is looked at when it has rested for half a second
        (machine.tree / "Work" / "last").write_text("")
        eventually(lambda: files() == 4)
        machine.run("system", "reindex")
        eventually(lambda: not machine.run("status")["status"]["subsystems"]["crawler"]["crawling"])
        assert files() == 4
        left_out = {one["export_path"]: one["reason"] for one in machine.run("files", "excluded")["items"]}
        assert left_out == dict.fromkeys(map(str, (inside, second)), "belongs to MosaicFS")
    finally:
        machine.run("unmount", "--force", str(second))
    assert up.end() == 0


@pytest.mark.fuse
@pytest.mark.skipif(not can_mount(), reason="this machine does not let us mount")
def test_a_change_on_disk_is_on_the_mount_within_two_seconds(machine: Any, eventually: Any) -> None:
    facts = machine.up("--mount", str(machine.mount), str(machine.tree)).wait_ready()
    assert facts["mount"] == str(machine.mount), facts["mount_problem"]
    (shown,) = machine.mount.glob("machines/*/tree/Work")
    work = machine.tree / "Work"
    took: dict[str, list[float]] = {"made": [], "renamed": [], "changed": [], "deleted": []}

    def seen(what: str, change: Callable[[], object], there: Callable[[], bool]) -> None:
        begun = time.monotonic()
        change()
        eventually(there)
        took[what].append(time.monotonic() - begun)

    def shows(name: str, text: str) -> bool:
        try:
            return name in {entry.name for entry in shown.iterdir()} and (shown / name).read_text() == text
        except FileNotFoundError:  # it went between the two looks
            return False

    for number in range(3):
        one, two = f"one {number}", f"two {number}"
        assert not shows(one, "1")
        seen("made", partial((work / one).write_text, "1"), partial(shows, one, "1"))
        inode = (shown / one).stat().st_ino
        seen("renamed", partial((work / one).rename, work / two), partial(shows, two, "1"))
        assert not shows(one, "1")
        assert (shown / two).stat().st_ino == inode
        seen("changed", partial((work / two).write_text, "longer"), partial(shows, two, "longer"))
        seen("deleted", (work / two).unlink, lambda two=two: not shows(two, "longer"))
    # The second of three: one may fall into a moment in which the machine was busy with something else.
    assert {what: sorted(seconds)[1] for what, seconds in took.items() if sorted(seconds)[1] > 2.0} == {}, took


@pytest.mark.fuse
@pytest.mark.skipif(not can_mount(), reason="this machine does not let us mount")
def test_the_first_look_after_an_edit_of_the_tree_shows_it(machine: Any) -> None:
    facts = machine.up("--mount", str(machine.mount), str(machine.tree)).wait_ready()
    assert facts["mount"] == str(machine.mount), facts["mount_problem"]
    link, _, token = facts["login_link"].partition("/#bootstrap=")
    session = json.loads(machine.http(f"{link}/api/auth/bootstrap", body={"token": token})[2])["access_token"]
    source = {"node_id": facts["node_id"], "export_path": str(machine.tree / "Work")}

    def ask(method: str, what: str, /, **body: Any) -> None:
        status, _, answer = machine.http(f"{link}/api/vfs/{what}", token=session, body=body or None, method=method)
        assert status < 300, answer

    stale = []
    for number in range(10):
        name, other = f"name {number}", f"other {number}"
        shown, place = machine.mount / name, f"directory?path=/name%20{number}"
        # The kernel is told of what is there, and of what is not.
        assert name not in os.listdir(machine.mount)
        assert not shown.exists()
        ask("POST", "directories", path=f"/{name}")
        stale += [] if name in os.listdir(machine.mount) and os.listdir(shown) == [] else [("made", number)]
        ask("PATCH", place, mounts=[{"source": source}])
        stale += [] if sorted(os.listdir(shown)) == ["2025", "notes.md"] else [("mounted", number)]
        ask("PATCH", place, name=other)
        stale += [] if (machine.mount / other / "notes.md").exists() and not shown.exists() else [("renamed", number)]
        ask("DELETE", f"directory?path=/other%20{number}")
        stale += [] if not (machine.mount / other).exists() else [("removed", number)]
    assert stale == []


def test_a_full_disk_ends_the_crawl_and_nothing_else(machine: Any, eventually: Any) -> None:
    for number in range(9_000):
        if number % 300 == 0:
            (machine.tree / f"part-{number}").mkdir()
        (machine.tree / f"part-{number - number % 300}" / f"{number}.txt").touch()
    machine.home.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(machine.home)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        up = machine.up("--no-mount", str(machine.tree))
        facts = up.wait_ready()
        assert any("full" in problem for problem in facts["problems"]), facts
        assert "not all of them looked at" in facts["indexed"]
        assert machine.run("status")["status"]["subsystems"]["crawler"]["status"] == "degraded"
        subprocess.run(["mount", "-o", "remount,size=100m", str(machine.home)], check=True)
        eventually(lambda: machine.run("system", "info")["documents"]["file"] == 9_003, 90)
        assert up.process.poll() is None
        assert up.end() == 0
        said = up.errors.decode()
        assert "never retrieved" not in said, said
        assert said.count("crawl failed") == 1, said
    finally:
        subprocess.run(["umount", "-l", str(machine.home)], check=True)


def test_a_remembered_folder_that_is_gone_is_told_at_the_next_start(machine: Any) -> None:
    machine.up("--no-mount", str(machine.tree)).wait_ready()
    assert machine.started[-1].end() == 0
    machine.tree.rename(machine.tree.with_name("elsewhere"))
    done = subprocess.run(
        [word for word in machine.program if word != "--json"] + ["up", "--detach", "--no-mount", "--port", "0"],
        capture_output=True,
        text=True,
        env=machine.environment,
        check=True,
        timeout=120,
    )
    machine.run("down")
    assert f"warning: {machine.tree}: the folder does not exist" in done.stdout
    assert "3 files known, not all of them looked at" in done.stdout


def test_without_a_folder_a_sample_is_shown(machine: Any) -> None:
    up = machine.up("--no-mount")
    sample = machine.home / "sample"
    assert up.wait_ready()["roots"] == [str(sample)]
    assert machine.file(sample / "Documents" / "Welcome.md")["mime_type"] == "text/markdown"
    assert machine.run("system", "info")["documents"]["file"] == sum(path.is_file() for path in sample.rglob("*"))
    assert up.end() == 0


def test_in_the_background_and_down(machine: Any) -> None:
    facts = machine.run("up", "--detach", "--no-mount", "--port", "0", str(machine.tree))
    try:
        assert machine.run("system", "health")["status"] == "healthy"
        assert machine.http(facts["url"] + "/api/health")[0] == 200
    finally:
        assert machine.run("down") == {"stopped": facts["pid"]}
    assert machine.run("down") == {"stopped": None}
    refused = machine.run("up", "--detach", "--no-mount", str(machine.tree / "missing"), code=2)
    assert "does not exist" in refused["error"]["message"]


@pytest.mark.parametrize("wrong", ["missing", "file", "port", "config", "home"])
def test_what_is_wrong_is_said_before_anything_starts(machine: Any, wrong: str) -> None:
    arguments = ["up", "--no-mount", str(machine.tree)]
    expected = ""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if wrong == "missing":
            arguments[-1], expected = str(machine.tree / "nowhere"), "does not exist"
        elif wrong == "file":
            arguments[-1], expected = str(machine.tree / "picture.png"), "is a file"
        elif wrong == "port":
            port = taken.getsockname()[1]
            arguments += ["--port", str(port)]
            expected = f"port {port} on 127.0.0.1 is taken by another program"
        elif wrong == "config":
            machine.home.mkdir()
            (machine.home / "mosaicfs.toml").write_text('[server]\nport = "many"\n')
            expected = "line 2, server.port: expected an integer from 0 to 65535"
        else:
            arguments[-1], expected = str(machine.home), "inside the home"
            machine.home.mkdir()
        error = machine.run(*arguments, code=1 if wrong == "port" else 2)["error"]
    assert expected in error["message"]
    assert not (machine.home / "replica.db").exists()
    # A home that was not there before is not left half-made.
    assert machine.home.exists() is (wrong in ("config", "home"))


HANGING = """
import asyncio, time
from mosaicfs_core.hooks import HOOK_API, PluginManifest, StepOp, hookimpl

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(
        title="Hangs", description="Never ends.", version="1", hook_api=HOOK_API, default_enabled=True,
        provides_filesystem=True,
    )

@hookimpl
async def mosaicfs_crawl(context, request):
    await asyncio.Event().wait()
    yield None

@hookimpl
def mosaicfs_step_ops():
    return [StepOp(name="stuck", description="Never answers.", compile=lambda fields: lambda file: time.sleep(86400))]
"""


@pytest.fixture
def hanging(machine: Any, tmp_path: Path) -> None:
    """A stranger's package that hangs wherever it can, installed for the machine."""
    packages = tmp_path / "packages"
    facts = packages / "hanging-1.dist-info"
    facts.mkdir(parents=True)
    (packages / "hanging.py").write_text(HANGING)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[mosaicfs]\nhanging = hanging\n")
    machine.environment["PYTHONPATH"] = str(packages)


@pytest.mark.fuse
@pytest.mark.skipif(not can_mount(), reason="this machine does not let us mount")
@pytest.mark.usefixtures("hanging")
def test_a_strangers_step_op_that_never_answers_is_skipped_and_named_and_holds_up_no_end(machine: Any) -> None:
    up = machine.up("--mount", str(machine.mount), str(machine.tree))
    facts = up.wait_ready()
    assert facts["mount"] == str(machine.mount), facts["mount_problem"]
    source = {"node_id": facts["node_id"], "export_path": str(machine.tree / "Work")}
    link, _, token = facts["login_link"].partition("/#bootstrap=")
    session = json.loads(machine.http(f"{link}/api/auth/bootstrap", body={"token": token})[2])["access_token"]
    made = {"path": "/stuck", "mounts": [{"source": source, "steps": [{"op": "stuck"}]}]}
    assert machine.http(f"{link}/api/vfs/directories", token=session, body=made)[0] == 201
    # In both processes it hangs, each shows the files without the step, and both are named here.
    assert sorted(os.listdir(machine.mount / "stuck")) == ["2025", "notes.md"]
    entries = machine.run("vfs", "ls", "/stuck")["items"]
    assert sorted(entry["name"] for entry in entries) == ["2025", "notes.md"]
    told = [error["message"] for error in machine.run("status")["status"]["recent_errors"]]
    said = "plugin hanging: step op stuck did not return for 5 s and is not asked again until a restart"
    assert sorted(told) == [said, f"{said} (seen by the mount at {machine.mount})"]
    assert up.end() == 0


@pytest.mark.usefixtures("hanging")
def test_a_strangers_hanging_crawl_holds_up_nothing_and_is_named(machine: Any) -> None:
    begun = time.monotonic()
    ready = machine.up("--no-mount", str(machine.tree)).wait_ready()
    assert time.monotonic() - begun < FIRST_CRAWL_SECONDS / 2
    assert ready["crawling"] == ["hanging"]
    assert machine.file(machine.tree / "picture.png")["size"] == 256 * 40
    crawler = machine.run("status")["status"]["subsystems"]["crawler"]
    assert [(crawl["instance"], crawl["files_seen"]) for crawl in crawler["crawling"]] == [("hanging", 0)]


def test_names_that_are_not_utf8_are_found_as_the_shell_gives_them(machine: Any) -> None:
    native = os.fsencode(machine.tree) + b"/inv\xff.txt"
    Path(os.fsdecode(native)).write_text("x")
    machine.up("--no-mount", str(machine.tree)).wait_ready()
    found = machine.run("files", "stat", os.fsdecode(native))
    assert found["name"] == "inv\U0010ffff.txt"
    for command in (("search",), ("files", "search")):
        items = machine.run(*command, os.fsdecode(b"inv\xff"))["items"]
        assert [item["id"] for item in items] == [found["id"]]


def test_an_address_that_is_not_served_is_named_with_its_place(machine: Any) -> None:
    machine.home.mkdir()
    (machine.home / "mosaicfs.toml").write_text('[server]\nhost = "0.0.0.0"\ntls = "off"\n')
    refused = machine.run("up", "--no-mount", str(machine.tree), code=2)["error"]["message"]
    assert refused.startswith(f"{machine.home}/mosaicfs.toml, line 2, server.host: 0.0.0.0 is not loopback")
