"""``doctor`` finds what is wrong on this machine and says how to mend it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import disk_room
from mosaicfs_core.cli import doctor_checks as checks
from mosaicfs_core.cli.mends import mend_of
from mosaicfs_core.home import Home
from mosaicfs_core.security import enrolment
from mosaicfs_core.security.presence import TWICE
from mosaicfs_core.security.requests import NOT_TRUSTED
from mosaicfs_core.store import Store


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """A home with a sound store."""
    made = Home(tmp_path / "home").prepare()
    made.instance_key()
    await (await Store.open(made.replica)).close()
    return made


def test_a_sound_home_has_nothing_to_mend(home: Home) -> None:
    found = {finding.check: finding for finding in (check(home) for check in checks.CHECKS)}
    for check in ("python", "configuration", "permissions", "clock", "store"):
        assert found[check].status == "ok", found[check]
    assert all(finding.mend for finding in found.values() if finding.status != "ok")


def test_an_absent_home_is_no_error(tmp_path: Path) -> None:
    assert all(check(Home(tmp_path / "none")).status != "failed" for check in checks.CHECKS)
    assert not (tmp_path / "none").exists()


def test_secrets_that_others_can_read(home: Home) -> None:
    key = home.path / "instance_key"
    key.chmod(0o644)
    found = checks.check_permissions(home)
    assert (found.status, found.mend) == ("failed", f"chmod go-rwx {key}")


def test_a_store_that_cannot_be_looked_at_is_not_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR | 4 << 8
        raise error

    monkeypatch.setattr(sqlite3, "connect", full)
    found = checks.check_store(home)
    assert (found.status, "keep the file" in str(found.mend)) == ("failed", True)


def test_a_damaged_store(home: Home) -> None:
    with open(home.replica, "r+b") as file:
        file.seek(100)
        file.write(os.urandom(8000))
    assert checks.check_store(home).status == "failed"
    (home.path / "auth.db").write_bytes(b"no database")
    assert checks.check_store(home).status == "failed"


def test_a_wrong_configuration_is_named(home: Home) -> None:
    home.config_file.write_text("[server]\nport = 99999\n")
    found = checks.check_configuration(home)
    assert found.status == "failed"
    assert "line 2, server.port" in found.detail


def test_a_wrong_value_that_a_variable_hides_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.config_file.write_text("[server]\nport = 99999\n")
    monkeypatch.setenv("MOSAICFS_SERVER_PORT", "8000")
    found = checks.check_configuration(home)
    assert (found.status, found.mend) == ("warning", "correct the value in the file")
    assert "line 2, server.port: expected an integer from 0 to 65535, not 99999" in found.detail
    assert "MOSAICFS_SERVER_PORT holds instead" in found.detail
    monkeypatch.setenv("MOSAICFS_SERVER_PORT", "99999")
    found = checks.check_configuration(home)
    assert (found.status, "environment variable MOSAICFS_SERVER_PORT" in found.detail) == ("failed", True)


def test_a_disabled_plugin_that_is_not_installed_is_named(home: Home) -> None:
    home.config_file.write_text('[agent]\ndisabled_plugins = ["search", "localf"]\n')
    found = checks.check_configuration(home)
    assert (found.status, found.mend) == ("warning", "correct or remove the name")
    assert "line 2, agent.disabled_plugins: no plugin localf is installed; did you mean localfs?" in found.detail


def test_a_clock_that_was_set_back(home: Home) -> None:
    later = home.replica.stat().st_mtime + 86_400
    os.utime(home.replica, (later, later))
    assert checks.check_clock(home).status == "failed"


def test_too_few_watches_for_what_is_indexed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_directories", lambda _: 10_000_000)
    found = checks.check_inotify(home)
    assert found.status == "warning"
    assert "max_user_watches=20000000" in found.mend


def test_a_full_disk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(home.path)

    def full(_: Any) -> os.statvfs_result:
        return os.statvfs_result([*real[:4], 10, *real[5:]])

    monkeypatch.setattr(disk_room.os, "statvfs", full)
    found = checks.check_disk(home)
    assert (found.status, found.detail) == ("failed", "0 MB free where the home is: nothing can be written")
    assert str(home.path) in found.mend


def test_quick_check_reads_and_writes_nothing(home: Home) -> None:
    before = home.replica.read_bytes()
    assert checks.check_store(home).status == "ok"
    assert home.replica.read_bytes() == before
    connection = sqlite3.connect(home.replica)
    assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    connection.close()


def test_the_package_that_is_missing_for_a_mount_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/fuse").exists():
        pytest.skip("FUSE is missing first")
    monkeypatch.setattr(checks, "installed_plugins", list)
    monkeypatch.setattr(checks.shutil, "which", lambda program: program)
    found = checks.check_fuse(home)
    assert (found.status, found.mend) == ("warning", "pip install 'mosaicfs-vfs[fuse]'")


def test_what_a_removed_package_left_is_cleared_up_by_name(tmp_path: Path) -> None:
    mend = mend_of("plugins", {"missing": ["mail", "notes"]}, Home(tmp_path))
    assert "install the package again" in mend
    assert "`mosaicfs plugin remove mail`, `mosaicfs plugin remove notes`" in mend


@pytest.mark.parametrize("name", ["crawler", "watcher", "plugins", "tasks", "vfs_mount", "replication"])
def test_no_part_is_mended_by_looking_at_it_again(name: str, tmp_path: Path) -> None:
    for part in ({}, {"inaccessible": ["/gone: the folder does not exist"], "unwatched": 3}):
        mend = mend_of(name, part, Home(tmp_path))
        assert mend
        assert "mosaicfs status" not in mend


@pytest.mark.parametrize(
    ("name", "part", "told"),
    [
        ("replication", {"detail": f"https://nas:6672 {NOT_TRUSTED}: self-signed"}, "--ca-fingerprint"),
        ("replication", {"detail": "401: the access key of the node node-a-aaaa was disabled"}, "enable MOSAICFS_"),
        ("link", {"detail": "the node node-a-aaaa was disabled"}, "PATCH /api/nodes/"),
        ("replication", {"detail": f"{TWICE}; it is at 192.0.2.7"}, "stop one of the two"),
        ("link", {"detail": TWICE}, "stop one of the two"),
        ("instances", {"reports": {"pins": {"pins": [{"state": "no_room"}]}}}, "`cache_min_free_bytes`"),
    ],
)
def test_what_mends_a_part_fits_its_reason(tmp_path: Path, name: str, part: dict[str, Any], told: str) -> None:
    home = Home(tmp_path).prepare()
    enrolment.save(
        home,
        enrolment.Enrolment(
            urls=("https://nas:6672",),
            node_id="node-a-aaaa",
            name="a",
            control_plane_id="control-plane-nas",
            control_plane_key="",
            ca_pem="",
            access_key_id="MOSAICFS_0123456789abcdef",
        ),
    )
    mend = mend_of(name, {"status": "degraded", **part}, home)
    assert told in mend
    assert "by itself" not in mend
    assert "log says more" not in mend
