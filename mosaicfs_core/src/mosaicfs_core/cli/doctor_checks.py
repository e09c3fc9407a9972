"""What ``mosaicfs doctor`` looks at: each check says what it found and, where something is wrong, how to mend it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mosaicfs_core import config
from mosaicfs_core.disk_room import NOTHING_WRITTEN, room_on
from mosaicfs_core.errors import ConfigError
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.discovery import installed_plugins, unknown_names
from mosaicfs_core.store.failures import anew, is_damage

FEW_WATCHES: Final = 65_536
LITTLE_SPACE: Final = 1_000_000_000
FEW_INODES: Final = 10_000
MANY_FILES: Final = 1024


class Finding(NamedTuple):
    """What one check found. ``mend`` is what to do about it, empty when all is well."""

    check: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    mend: str = ""


def check_python(home: Home) -> Finding:
    """The interpreter, and that SQLite in it can search names."""
    version = ".".join(map(str, sys.version_info[:3]))
    with closing(sqlite3.connect(":memory:")) as connection:
        options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    if "ENABLE_FTS5" not in options:
        return Finding("python", "failed", f"Python {version}: its SQLite lacks FTS5", "use another build of Python")
    return Finding("python", "ok", f"Python {version}, SQLite {sqlite3.sqlite_version}")


def check_fuse(home: Home) -> Finding:
    """Whether the tree can be mounted."""
    if sys.platform != "linux":
        return Finding("fuse", "warning", "mounting needs Linux", "use `mosaicfs vfs ls` or the API")
    device = Path("/dev/fuse")
    if not device.exists():
        return Finding("fuse", "warning", "/dev/fuse is missing: nothing can be mounted", "sudo modprobe fuse")
    if not os.access(device, os.R_OK | os.W_OK):
        return Finding("fuse", "warning", "this user may not open /dev/fuse", "sudo chmod 666 /dev/fuse")
    if shutil.which("fusermount3") is None:
        return Finding("fuse", "warning", "fusermount3 is missing", "sudo apt-get install fuse3")
    if all(plugin.distribution != "mosaicfs-vfs" for plugin in installed_plugins()):
        detail = "the package mosaicfs-vfs, which mounts, is not installed"
        return Finding("fuse", "warning", detail, "pip install 'mosaicfs-vfs[fuse]'")
    if importlib.util.find_spec("pyfuse3") is None:
        install = "sudo apt-get install libfuse3-dev pkg-config gcc, then pip install 'mosaicfs-vfs[fuse]'"
        return Finding("fuse", "warning", "the Python package pyfuse3 is missing", install)
    return Finding("fuse", "ok", "the tree can be mounted")


def check_inotify(home: Home) -> Finding:
    """Whether the kernel lets every directory be watched."""
    if sys.platform != "linux":
        return Finding("inotify", "ok", "not used on this system")
    try:
        limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return Finding("inotify", "warning", "the kernel does not tell its limit of watches", "use Linux with inotify")
    needed = _directories(home)
    if limit < max(needed * 5 // 4, FEW_WATCHES if needed == 0 else 0):
        wanted = max(FEW_WATCHES, needed * 2)
        mend = f"sudo sysctl fs.inotify.max_user_watches={wanted} (and write it to /etc/sysctl.d/50-mosaicfs.conf)"
        return Finding("inotify", "warning", f"{limit:,} directories can be watched, {needed:,} are indexed", mend)
    return Finding("inotify", "ok", f"{limit:,} directories can be watched, {needed:,} are indexed")


def check_descriptors(home: Home) -> Finding:
    """How many files a process may open."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY_FILES:
        return Finding("open files", "warning", f"a process may open {hard} files", "raise it: ulimit -Hn 65536")
    return Finding("open files", "ok", f"a process may open {soft} files")


def check_clock(home: Home) -> Finding:
    """Whether the clock is behind what was written already: signed requests and ages depend on it."""
    newest = max((path.stat().st_mtime for path in home.path.glob("*") if path.is_file()), default=0.0)
    behind = newest - time.time()
    if behind > 120:
        detail = f"the clock is {behind:,.0f} s behind the newest file of the home"
        return Finding("clock", "failed", detail, "set the clock: sudo timedatectl set-ntp true")
    return Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %z"))


def check_disk(home: Home) -> Finding:
    """Whether the home's filesystem has room."""
    room = room_on(home.path)
    mend = f"make room on the disk of {home.path}"
    if room.full:
        return Finding("disk", "failed", f"{room} where the home is: {NOTHING_WRITTEN}", mend)
    if room.free < LITTLE_SPACE or (room.files is not None and room.files < FEW_INODES):
        return Finding("disk", "warning", f"{room} where the home is", mend)
    return Finding("disk", "ok", f"{room} where the home is")


def check_configuration(home: Home) -> Finding:
    """Whether ``mosaicfs.toml`` and the environment are right."""
    try:
        disabled = config.load(home.config_file).agent.disabled_plugins
        hidden = config.hidden_problems(home.config_file)
    except ConfigError as error:
        return Finding("configuration", "failed", error.message, "correct the value it names")
    if hidden:
        return Finding("configuration", "warning", "; ".join(hidden), "correct the value in the file")
    unknown = unknown_names(disabled, installed_plugins())
    if unknown:
        where = config.where_set(home.config_file, "agent", "disabled_plugins")
        return Finding("configuration", "warning", f"{where}: {'; '.join(unknown)}", "correct or remove the name")
    there = "is right" if home.config_file.exists() else "is absent: all defaults hold"
    return Finding("configuration", "ok", f"{home.config_file} {there}")


def check_permissions(home: Home) -> Finding:
    """Whether what is secret is the owner's alone."""
    secret = (
        "instance_key",
        "node_key",
        "auth.db",
        "replica.db",
        "run/local_token",
        "certs/ca.key",
        "certs/server.key",
    )
    open_ones = [
        path for path in (home.path, *(home.path / name for name in secret)) if path.exists() and _others_can(path)
    ]
    if open_ones:
        names = " ".join(str(path) for path in open_ones)
        return Finding("permissions", "failed", f"others can read {names}", f"chmod go-rwx {names}")
    return Finding("permissions", "ok", "the home's secrets are its owner's alone")


def check_store(home: Home) -> Finding:
    """Whether the replica and the sign-in database are sound."""
    sign_ins = home.path / "auth.db"
    for file, mend in (
        (home.replica, anew(home.replica)),
        (sign_ins, f"stop MosaicFS, move {sign_ins}* away and start it again: everybody has to sign in anew"),
    ):
        if not file.exists():
            continue
        try:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA query_only = ON")
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            answer = str(error)
            if not is_damage(error):  # a full disk, a lock, a device that fails
                mend = "see that the disk has room and can be read, then ask again; keep the file"
                return Finding("store", "failed", f"{file.name} cannot be looked at now: {answer}", mend)
        if answer != "ok":
            return Finding("store", "failed", f"{file.name}: {answer}", mend)
    return Finding(
        "store", "ok", "sound" if home.replica.exists() else "there is none yet: it is made at the first start"
    )


def check_certificate(home: Home) -> Finding:
    """Whether the certificate of this machine's listener is good for a while."""
    file = home.certs_dir / "server.pem"
    if not file.exists():
        return Finding("certificate", "ok", "there is none: nothing listens beyond this machine")
    from mosaicfs_core.errors import UserError
    from mosaicfs_core.security import certificates
    from mosaicfs_core.security.authority import utc_now

    try:
        found = certificates.load(file.read_bytes())
    except (UserError, OSError) as error:
        return Finding(
            "certificate", "failed", f"{file}: {error}", f"delete {file}; a new one is made at the next start"
        )
    until = found.not_valid_after_utc
    if certificates.needs_renewal(found, utc_now()):
        mend = "let this machine's MosaicFS run where it reaches its control plane: it renews by itself"
        return Finding("certificate", "warning", f"it holds until {until:%Y-%m-%d}", mend)
    return Finding("certificate", "ok", f"it holds until {until:%Y-%m-%d}")


CHECKS: Final[tuple[Callable[[Home], Finding], ...]] = (
    check_python,
    check_configuration,
    check_permissions,
    check_disk,
    check_clock,
    check_certificate,
    check_store,
    check_fuse,
    check_inotify,
    check_descriptors,
)


def _directories(home: Home) -> int:
    """How many directories hold indexed files."""
    if not home.replica.exists():
        return 0
    try:
        with closing(sqlite3.connect(home.replica)) as connection:
            connection.execute("PRAGMA query_only = ON")
            return int(connection.execute("SELECT count(*) FROM directories WHERE below > 0").fetchone()[0])
    except sqlite3.Error:
        return 0


def _others_can(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
