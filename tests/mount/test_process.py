"""Protects the life of a mount: it is there when it is said to be, it leaves nothing behind, and what a killed one left
is cleaned up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.errors import Conflict, NotFound, UserError
from mosaicfs_core.mount_table import mounts_at
from mosaicfs_vfs.fuse import mountpoint
from mosaicfs_vfs.fuse.unmounting import unmount_directory

pytestmark = pytest.mark.fuse


def kinds(point: Path) -> list[str]:
    """The types of the mounts stacked on a path."""
    return [mount.kind for mount in mounts_at(point)]


def test_it_answers_as_soon_as_it_is_said_to_be_mounted(world: Any, point: Path) -> None:
    world.write("a.txt", b"a")
    mount = world.mount(point)
    assert kinds(point) == [mountpoint.FILE_SYSTEM_TYPE]
    assert (point / "all" / "a.txt").read_bytes() == b"a"
    mount.stop()
    assert kinds(point) == []
    assert mount.process.returncode == 0
    assert list(point.iterdir()) == []


def test_command_line(world: Any, point: Path) -> None:
    world.write("a.txt", b"a")
    made = world.command("--json", "mount", point)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["mounted"] == str(point)
    assert re.search(r"warning: no agent runs here.*`mosaicfs up`", made.stderr)
    assert (point / "all" / "a.txt").read_bytes() == b"a"
    ended = world.command("unmount", point)
    assert ended.returncode == 0, ended.stderr
    assert kinds(point) == []
    again = world.command("unmount", point)
    assert again.returncode != 0
    assert "not mounted" in again.stderr
    process = json.loads(made.stdout)["pid"]
    world.wait_until(lambda: not Path(f"/proc/{process}").exists(), 5)


def test_foreground_tied_to_standard_input(world: Any, point: Path) -> None:
    line = [sys.executable, "-c", "from mosaicfs_core.cli.main import main; main()"]
    line += ["--home", str(world.home.path), "--json", "mount", str(point), "--foreground", "--tied"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"mounted": str(point), "agent": False}
        assert os.listdir(point) == ["all"]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    assert kinds(point) == []


def test_killed_and_mounted_again(world: Any, point: Path) -> None:
    world.write("a.txt", b"a")
    for _ in range(2):
        mount = world.mount(point)
        os.kill(mount.process.pid, signal.SIGKILL)
        mount.process.wait(10)
    world.mount(point)
    assert kinds(point) == [mountpoint.FILE_SYSTEM_TYPE]
    assert (point / "all" / "a.txt").read_bytes() == b"a"


def test_a_dead_mount_without_a_helper_is_cleaned_up(world: Any, point: Path) -> None:
    """As a plain user there is no ``auto_unmount``: the kill leaves a mount that answers ENOTCONN."""
    code = (
        "import mosaicfs_vfs.fuse.session as s\n"
        "from mosaicfs_core.cli.main import main\n"
        "chosen = s.options\n"
        "s.options = lambda allow_other: chosen(allow_other) - {'auto_unmount'}\n"
        "main()"
    )
    line = [sys.executable, "-c", code, "--home", str(world.home.path), "mount", str(point), "--foreground", "--child"]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"mounted" in process.stdout.readline()
        process.kill()
    with pytest.raises(OSError, match="not connected"):
        os.listdir(point)
    world.mount(point)
    assert kinds(point) == [mountpoint.FILE_SYSTEM_TYPE]
    assert os.listdir(point) == ["all"]


def test_refusals_say_what_to_do(world: Any, point: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    with pytest.raises(UserError, match="not empty"):
        world.mount(full)
    with pytest.raises(UserError, match="not a directory"):
        world.mount(full / "file")
    world.mount(point)
    with pytest.raises(UserError, match=r"mounted already.*mosaicfs unmount"):
        world.mount(point)
    assert kinds(point) == [mountpoint.FILE_SYSTEM_TYPE]


def test_a_home_without_an_index(world: Any, point: Path, tmp_path: Path) -> None:
    failed = world.command("--home", tmp_path / "nowhere", "mount", point)
    assert failed.returncode == 2
    assert "mosaicfs up" in failed.stderr


def test_unmounting_what_is_busy(world: Any, point: Path) -> None:
    world.write("a.txt", b"a")
    world.mount(point)
    with open(point / "all" / "a.txt", "rb") as file:
        with pytest.raises(Conflict, match="in use"):
            unmount_directory(point)
        assert file.read() == b"a"
        assert unmount_directory(point, force=True) == point
    with pytest.raises(NotFound):
        unmount_directory(point)


def test_sigterm_with_an_open_file(world: Any, point: Path) -> None:
    world.write("a.txt", b"a")
    mount = world.mount(point)
    descriptor = os.open(point / "all" / "a.txt", os.O_RDONLY)
    mount.stop()
    with contextlib.suppress(OSError):
        # The file system it belonged to is gone.
        os.close(descriptor)
    assert mount.process.returncode == 0
    assert kinds(point) == []


class TestWithoutAgent:
    """The mount is its own process: it serves what is on this machine whatever becomes of the agent."""

    def test_local_files_and_changes_without_an_agent(self, world: Any, point: Path) -> None:
        world.write("a.txt", b"a")
        root = world.mount(point).directory / "all"
        assert not world.home.agent_socket.exists()
        assert (root / "a.txt").read_bytes() == b"a"
        world.write("b.txt", b"b")
        world.wait_until((root / "b.txt").exists)

    def test_a_file_of_another_node_is_an_input_error_and_no_hang(self, world: Any, point: Path) -> None:
        path = world.write("a.txt", b"a")
        document = world.document(path)
        identifier = d.file_document_id("node-other-aaaa", d.new_uuid())
        source = {**document["source"], "node_id": "node-other-aaaa"}
        world.put({**document, "_id": identifier, "inode": d.derived_inode(identifier), "source": source})
        mount = world.source(world.files)
        mount["source"]["node_id"] = "node-other-aaaa"
        world.put_directory("/other", mount)
        shown = world.mount(point).directory / "other" / "a.txt"
        assert shown.stat().st_size == 1
        started = time.monotonic()
        with pytest.raises(OSError, match="Input/output"):
            shown.read_bytes()
        assert time.monotonic() - started < 5
        with pytest.raises(OSError, match="Input/output"):
            shown.read_bytes()
        log = (world.home.log_dir / "mount.log").read_text()
        (warned,) = [line for line in log.splitlines() if "No agent runs here" in line]
        assert "WARNING" in warned.upper()

    def test_a_file_outside_the_watched_folders_is_not_opened(self, world: Any, point: Path, tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("secret")
        world.index(secret)
        world.put_directory("/out", world.source(tmp_path))
        shown = world.mount(point).directory / "out" / "secret.txt"
        with pytest.raises(PermissionError):
            shown.read_bytes()


def test_extended_attributes(world: Any, point: Path) -> None:
    path = world.write("a.txt", b"a")
    written, time_text = str(path), d.format_time(d.now_micros())
    world.put(
        {
            "_id": d.label_assignment_id(world.node, written),
            "type": "label_assignment",
            "node_id": world.node,
            "export_path": written,
            "labels": ["red", "blue"],
            "updated_at": time_text,
        }
    )
    shown = world.mount(point, xattr=True).directory / "all" / "a.txt"
    assert set(os.listxattr(shown)) == {f"user.mosaicfs.{name}" for name in ("node", "path", "labels")}
    assert os.getxattr(shown, "user.mosaicfs.node") == world.node.encode()
    assert os.getxattr(shown, "user.mosaicfs.path") == os.fsencode(path)
    assert json.loads(os.getxattr(shown, "user.mosaicfs.labels")) == ["blue", "red"]
    with pytest.raises(OSError, match="No data"):
        os.getxattr(shown, "user.mosaicfs.nothing")
    world.put(
        {
            "_id": d.annotation_id(world.node, written, "summarize"),
            "type": "annotation",
            "node_id": world.node,
            "export_path": written,
            "plugin_name": "summarize",
            "annotated_by": world.node,
            "data": {"text": "short"},
            "status": "ok",
            "annotated_at": time_text,
            "updated_at": time_text,
            "source_mtime": time_text,
            "source_size": 1,
        }
    )
    name = "user.mosaicfs.annotation.summarize"
    world.wait_until(lambda: name in os.listxattr(shown))
    assert json.loads(os.getxattr(shown, name)) == {"text": "short"}


def test_without_the_option_there_are_no_extended_attributes(world: Any, point: Path) -> None:
    world.write("a.txt", b"a")
    with pytest.raises(OSError, match="not supported"):
        os.listxattr(world.mount(point).directory / "all" / "a.txt")


def test_a_plugin_whose_step_op_cannot_be_compiled_leaves_the_tree_as_it_is(
    world: Any, point: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "packages" / "broken_op-1.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken_op\nVersion: 1\n")
    fault = "mosaicfs_core.testing.faults:step_compile_raises"
    (facts / "entry_points.txt").write_text(f"[mosaicfs]\nbroken_op = {fault}\n")
    monkeypatch.setenv("PYTHONPATH", str(facts.parent))
    world.write("a.txt", b"a")
    world.put_directory("/broken", world.source(world.files, steps=[{"op": "boom"}]))
    root = world.mount(point).directory
    assert [(root / name / "a.txt").read_bytes() for name in ("all", "broken")] == [b"a", b"a"]
    assert "step op boom failed" in (world.home.log_dir / "mount.log").read_text()
