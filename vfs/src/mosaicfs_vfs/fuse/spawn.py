"""Starting the mount process and waiting until the mount answers.

Works without pyfuse3: the child says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from mosaicfs_core.errors import MosaicError, Unavailable, UserError
from mosaicfs_core.home import Home
from mosaicfs_vfs.fuse import mountpoint

_STOP_S: Final = 10.0
_LOG_LIMIT: Final = 10_000_000


@dataclass(slots=True)
class MountProcess:
    """A running mount. ``directory`` is where it is mounted."""

    directory: Path
    process: subprocess.Popen[bytes]
    _tie: socket.socket | None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def stop(self, timeout: float = _STOP_S) -> None:
        """Unmount and wait for the end of the process; blocks up to ``timeout`` seconds, then kills it. Idempotent."""
        if self.running:
            self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            mountpoint.clear_stale(self.directory)
        if self._tie is not None:
            self._tie.close()
            self._tie = None


def spawn_mount(
    home: Path,
    directory: Path,
    *,
    allow_other: bool = False,
    xattr: bool = False,
    tied: bool = True,
    timeout: float = 60.0,
) -> MountProcess:
    """Start a mount process and return once the mount answers; blocks.

    ``tied`` mounts end with the process that started them, whatever ends it; others live on. The process logs to
    ``logs/mount.log`` of the home. Raises ``UserError`` with the child's reason, ``Unavailable`` after ``timeout``
    seconds.
    """
    place = Home(home)
    point = mountpoint.absolute(directory)
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "mosaicfs_vfs.fuse.process", os.fspath(point), "--home", os.fspath(place.path)]
    command += ["--status-fd", str(theirs.fileno())]
    command += [flag for flag, wanted in _flags(allow_other, xattr, tied) if wanted]
    with theirs, open_log(place) as log:
        process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    answer = _answer(ours, timeout)
    if "mounted" not in answer:
        ours.close()
        process.kill() if not answer else None
        process.wait()
        if not answer and process.returncode < 0:
            raise Unavailable(
                f"The mount of {point} did not answer within {timeout:g} s; see {place.log_dir}/mount.log"
            )
        reason = answer.get("error") or f"The mount process ended with {process.returncode}"
        raise UserError(f"{reason} (log: {place.log_dir}/mount.log)" if not answer else reason)
    if not tied:
        ours.close()
    return MountProcess(Path(answer["mounted"]), process, ours if tied else None)


def open_log(home: Home) -> TextIO:
    """``logs/mount.log`` of a home, for appending; a large one is set aside first."""
    home.log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home.log_dir / "mount.log"
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    return open(path, "a", encoding="utf-8", opener=_private)


def _flags(allow_other: bool, xattr: bool, tied: bool) -> tuple[tuple[str, bool], ...]:
    return (("--allow-other", allow_other), ("--xattr", xattr), ("--tied", tied))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _failure(process: subprocess.Popen[bytes], answer: dict[str, Any], point: Path, home: Home) -> MosaicError:
    """Why there is no mount; the process is gone afterwards."""
    log = home.log_dir / "mount.log"
    if "error" in answer:
        process.wait(_STOP_S)
        return UserError(str(answer["error"]))
    try:
        # The end of the status socket is the end of the process, but for the moment it takes to be reaped.
        code = process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return Unavailable(f"The mount of {point} did not answer in time; see {log}")
    return UserError(f"The mount process ended with code {code}; see {log}")


def _answer(status: socket.socket, timeout: float) -> dict[str, Any]:
    """The child's line; empty when it ended or stayed silent."""
    deadline = time.monotonic() + timeout
    received = b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([status], [], [], left)[0]:
            return {}
        part = status.recv(65536)
        if not part:
            return {}
        received += part
    answer: dict[str, Any] = json.loads(received)
    return answer
