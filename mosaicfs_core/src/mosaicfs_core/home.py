"""The home directory of one MosaicFS node: where everything of it lives, and the lock that keeps it to one writer.

Everything in it belongs to its owner alone: directories are 0700, files 0600. Layout::

    mosaicfs.toml   configuration            node_id         this machine's node id
    replica.db      the embedded store       instance_key    32 random bytes, base64, of a control plane
    node_key        X25519 private key       control_plane_id  the node id of the control plane that lives here
    certs/          certificates and keys    enrolment.json  whose agent this is, once it is enrolled
    cache/          content cache            lock            held while the home is in use; holds the pid
    plugins/        foreign programs         run/            sockets, the local token, the endpoint of the server
    environments/   of packages, their own   logs/           rotated logs
    state/          plugins' private state   bridge-data/    files of bridges
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import platformdirs

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import Conflict, UserError

HOME_VARIABLE: Final = "MOSAICFS_HOME"
INSTANCE_KEY_BYTES: Final = 32
LEFT_LOCK_S: Final = 5.0
"""How long the lock of a process that is dead may still be held: by a program that it was about to start when it was
killed, which lets go of it as soon as it begins."""


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """``$MOSAICFS_HOME``, or the platform's user data directory."""
    named = (os.environ if environ is None else environ).get(HOME_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_data_path("mosaicfs")


def write_private(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step, mode 0600, durable: a reader sees the old bytes or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        # The name is durable only when its directory is.
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class HomeLock:
    """The right to write to a home; released by ``release``, the end of a ``with`` block or of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the home free. A second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> HomeLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Home:
    """A node's home directory. Making the object creates nothing; ``prepare`` does."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(os.path.abspath(Path(path).expanduser()))
        self.config_file = self.path / "mosaicfs.toml"
        self.replica = self.path / "replica.db"
        self.cache_dir = self.path / "cache"
        self.log_dir = self.path / "logs"
        self.run_dir = self.path / "run"
        self.state_dir = self.path / "state"
        self.plugins_dir = self.path / "plugins"
        self.environments_dir = self.path / "environments"
        self.bridge_dir = self.path / "bridge-data"
        self.certs_dir = self.path / "certs"
        self.node_key_file = self.path / "node_key"
        self.enrolment_file = self.path / "enrolment.json"
        self.control_plane_id_file = self.path / "control_plane_id"
        self.agent_socket = self.run_dir / "agent.sock"
        self.local_token_file = self.run_dir / "local_token"
        self.endpoint_file = self.run_dir / "endpoint.json"
        self.starting_file = self.run_dir / "starting.json"
        self.lock_file = self.path / "lock"

    def prepare(self) -> Home:
        """Create the directory and its ``run`` with mode 0700; raises ``UserError`` when that cannot be, or when the
        directory holds something else: making it private would shut others out of it.
        """
        for directory in (self.path, self.run_dir):
            try:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                if directory == self.path and self._is_foreign():
                    raise UserError(
                        f"{self.path} is not empty and is no home of MosaicFS: name an empty or a new directory",
                        path=str(self.path),
                    )
                if directory.stat().st_uid == os.getuid():
                    directory.chmod(0o700)
            except OSError as error:
                raise UserError(
                    f"the home {self.path} cannot be used: {error.strerror}", path=str(directory)
                ) from error
        return self

    @contextmanager
    def kept_if_used(self) -> Iterator[None]:
        """Around a first start: should it fail before anything of worth was written, the home that was made for it goes
        again."""
        fresh = not self.path.exists()
        try:
            yield
        except BaseException:
            made = {self.lock_file, self.run_dir, self.log_dir}
            if fresh and self.path.is_dir() and made.issuperset(self.path.iterdir()):
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def _is_foreign(self) -> bool:
        ours = {self.config_file, self.replica, self.lock_file, self.path / "node_id", self.cache_dir, self.log_dir}
        ours |= {self.run_dir, self.state_dir, self.plugins_dir, self.bridge_dir, self.certs_dir, self.node_key_file}
        ours.add(self.environments_dir)
        found = set(self.path.iterdir())
        return bool(found) and not found & ours

    def node_id(self, name: str | None = None) -> str:
        """This machine's node id, made on first use from ``name`` (default: the host's name)."""
        file = self.path / "node_id"
        known = _read_text(file)
        if known:
            return known
        made = ids.new_node_id(name or socket.gethostname())
        write_private(file, f"{made}\n".encode())
        return made

    def instance_key(self) -> bytes:
        """The 32 random bytes that wrap this instance's stored secrets, made on first use."""
        file = self.path / "instance_key"
        known = _read_text(file)
        if known:
            return base64.b64decode(known, validate=True)
        made = secrets.token_bytes(INSTANCE_KEY_BYTES)
        write_private(file, base64.b64encode(made) + b"\n")
        return made

    def further_folders(self) -> str:
        """What to do instead of starting again with a home that is in use, to have more folders indexed. An agent's
        folders are its control plane's to change."""
        if self.enrolment_file.exists():
            there = f"`mosaicfs folders add --node {self.node_id()}` on its control plane"
            return f"{there} gives it further folders as it runs"
        return f"`mosaicfs --home {self.path} folders add` gives it further folders as it runs"

    def tell_starting(self, why: str) -> None:
        """Write down why this process has the home and answers nothing yet, for the command line to find."""
        write_private(self.starting_file, json.dumps({"pid": os.getpid(), "why": why}).encode())

    def starting(self) -> tuple[int, str] | None:
        """The pid of a process that starts with this home and is not ready yet, and what it waits for."""
        try:
            told = json.loads(self.starting_file.read_bytes())
            pid, why = int(told["pid"]), str(told["why"])
            os.kill(pid, 0)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # there is none, or it was killed and has left its word behind
        return pid, why

    def lock(self, *, instead: str = "") -> HomeLock:
        """Take the home for this process; raises ``Conflict`` that names the pid of the process that has it, and what
        may be done ``instead``."""
        self.prepare()
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + LEFT_LOCK_S
        while not _locked(descriptor):
            text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            pid = int(text) if text.isdigit() else None
            if pid is not None and not _exists(pid) and time.monotonic() < until:
                time.sleep(0.01)
                continue
            os.close(descriptor)
            raise Conflict(
                f"the home {self.path} is in use by process {pid or 'unknown'}; `mosaicfs --home {self.path} down` ends"
                f" it{instead and ', and '}{instead}",
                pid=pid,
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return HomeLock(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
