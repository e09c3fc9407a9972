"""Starting the mount process and waiting until the mount answers.

The child is ``mosaicfs mount --foreground``. It says in one JSON line on its standard output that it is mounted, or on
its standard error why not, and logs to a file from then on. Works without pyfuse3: the child says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TextIO

from mosaicfs_core import config, logs
from mosaicfs_core.errors import MosaicError, Unavailable, UserError
from mosaicfs_core.home import Home
from mosaicfs_vfs.fuse import mountpoint

_STOP_S: Final = 10.0
_LOG_LIMIT: Final = 10_000_000
_PROGRAM: Final = "from mosaicfs_core.cli.main import main; main()"


@dataclass(frozen=True, slots=True)
class MountProcess:
    """A running mount. ``directory`` is where it is mounted."""

    directory: Path
    process: subprocess.Popen[bytes]

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
        _close(self.process.stdin, self.process.stdout, self.process.stderr)


def spawn_mount(
    home: Path,
    directory: Path,
    *,
    allow_other: bool = False,
    xattr: bool = False,
    safe_mode: bool = False,
    tied: bool = True,
    timeout: float = 60.0,
) -> MountProcess:
    """Start a mount process and return once the mount answers; blocks.

    ``tied`` mounts end with the process that started them, whatever ends it; others live on. The process logs to
    ``logs/mount.log`` of the home. Raises ``UserError`` with the child's reason, ``Unavailable`` after ``timeout``
    seconds.
    """
    point = mountpoint.absolute(directory)
    flags = {"--allow-other": allow_other, "--xattr": xattr, "--safe-mode": safe_mode, "--tied": tied}
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "--json", "--home", os.fspath(Home(home).path)]
        + ["mount", os.fspath(point), "--foreground", "--child"]
        + [flag for flag, wanted in flags.items() if wanted],
        stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
    )
    assert process.stdout is not None
    line = _line(process.stdout, timeout)
    if not line:
        raise _failure(process, point)
    _close(process.stdout, process.stderr)
    return MountProcess(Path(json.loads(line)["mounted"]), process)


def log_to_file(home: Home) -> None:
    """Let this process log to ``logs/mount.log`` of a home, with whatever it prints; nobody reads that any more."""
    log = _open_log(home)
    for descriptor in (1, 2):
        os.dup2(log.fileno(), descriptor)
    logs.configure(config.load(home.config_file).logging, stream=log)


def _open_log(home: Home) -> TextIO:
    """The log, for appending; a large one is set aside first."""
    home.log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home.log_dir / "mount.log"
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    return open(path, "a", encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _failure(process: subprocess.Popen[bytes], point: Path) -> MosaicError:
    """Why there is no mount; the process is gone afterwards."""
    try:
        # The end of its output is the end of the process, but for the moment it takes to be reaped.
        _, told = process.communicate(timeout=1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Unavailable(f"The mount of {point} did not answer in time")
    last = told.decode(errors="replace").strip().rpartition("\n")[2]
    try:
        return UserError(str(json.loads(last)["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        return UserError(last or f"The mount process ended with code {process.returncode}")


def _line(output: IO[bytes], timeout: float) -> bytes:
    """The child's line; empty when it ended or stayed silent."""
    deadline = time.monotonic() + timeout
    received = b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([output], [], [], left)[0]:
            return b""
        part = os.read(output.fileno(), 65536)
        if not part:
            return b""
        received += part
    return received


def _close(*streams: IO[bytes] | None) -> None:
    for stream in streams:
        if stream is not None:
            stream.close()
