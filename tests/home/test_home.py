"""Protects the home directory: one process at a time, nothing in it readable by others, ids and keys that stay."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mosaicfs_core.errors import Conflict, UserError
from mosaicfs_core.home import Home, default_home, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    child = "import sys; from mosaicfs_core.home import Home; Home(sys.argv[1]).lock()"
    with home.lock():
        refused = subprocess.run([sys.executable, "-c", child, str(home.path)], capture_output=True, text=True)
        assert refused.returncode == 1
        assert f"in use by process {os.getpid()}" in refused.stderr
        with pytest.raises(Conflict) as caught:
            home.lock(instead=home.further_folders())
        assert caught.value.details["pid"] == os.getpid()
        assert f"`mosaicfs --home {home.path} down` ends it" in caught.value.message
        assert f"`mosaicfs --home {home.path} folders add`" in caught.value.message
    assert subprocess.run([sys.executable, "-c", child, str(home.path)], check=False).returncode == 0


FORKING = """
import os, sys
from mosaicfs_core.home import Home
lock = Home(sys.argv[1]).lock()
if os.fork():
    os._exit(0)
print("forked", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_was_about_to_start_holds_up_nobody(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    dead = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert dead.stdin is not None
    assert dead.stdout is not None
    assert dead.stdout.readline() == b"forked\n"
    dead.wait()
    threading.Timer(0.1, dead.stdin.close).start()
    with home.lock():
        assert home.lock_file.read_text() == f"{os.getpid()}\n"
    dead.stdout.close()


def test_what_it_makes_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    home.node_id("Laptop")
    home.instance_key()
    assert mode(home.path) == mode(home.run_dir) == 0o700
    assert mode(home.path / "node_id") == mode(home.path / "instance_key") == 0o600


def test_a_killed_process_is_not_taken_for_one_that_starts(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    assert home.starting() is None
    home.tell_starting("waiting for a friend")
    assert home.starting() == (os.getpid(), "waiting for a friend")
    gone = subprocess.Popen(["true"])
    gone.wait()
    for damaged in (json.dumps({"pid": gone.pid, "why": "x"}), "", "[]", "{}"):
        home.starting_file.write_text(damaged)
        assert home.starting() is None


def test_node_id_and_instance_key_stay(tmp_path: Path) -> None:
    first, second = Home(tmp_path / "home").prepare(), Home(tmp_path / "home")
    assert first.node_id("Anna's Laptop").startswith("node-anna-s-laptop-")
    assert first.node_id() == second.node_id("other")
    assert first.instance_key() == second.instance_key()
    assert len(first.instance_key()) == 32


def test_a_home_that_is_a_file_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        Home(tmp_path / "home").prepare()


def test_default_home_follows_the_environment(tmp_path: Path) -> None:
    assert default_home({"MOSAICFS_HOME": str(tmp_path)}) == tmp_path
    assert default_home({}).name == "mosaicfs"


def test_a_failed_private_write_leaves_the_old_bytes_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    write_private(target, b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        write_private(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    tmp_path.chmod(0o755)
    with pytest.raises(UserError, match="no home of MosaicFS"):
        Home(tmp_path).prepare()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def failing_start(home: Home, write: Callable[[], object]) -> None:
    """A start that writes something and fails."""
    with home.kept_if_used(), home.lock():
        write()
        raise ValueError("wrong")


def test_a_home_that_a_failed_first_start_made_goes_again_unless_it_was_used(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    with pytest.raises(ValueError, match="wrong"):
        failing_start(home, home.log_dir.mkdir)
    assert not home.path.exists()
    with pytest.raises(ValueError, match="wrong"):
        failing_start(home, home.node_id)
    assert (home.path / "node_id").exists()


def test_a_home_that_was_there_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    with pytest.raises(ValueError, match="wrong"):
        failing_start(home, home.log_dir.mkdir)
    assert home.run_dir.is_dir()
