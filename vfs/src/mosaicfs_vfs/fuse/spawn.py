"""Starting the mount process and waiting until the mount answers.

The child is ``mosaicfs mount --foreground``. It says in one JSON line on its standard output that it is mounted, or on
its standard error why not, and logs to a file from then on. Works without pyfuse3: the child says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from mosaicfs_core import children, config, logs
from mosaicfs_core.home import Home
from mosaicfs_core.mount_table import mount_point
from mosaicfs_vfs.fuse import mountpoint

_STOP_S: Final = 10.0
_LOG_LIMIT: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class MountProcess:
    """A running mount. ``directory`` is where it is mounted, ``agent`` whether an agent answered it as it began."""

    directory: Path
    process: subprocess.Popen[bytes]
    agent: bool

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
        children.close(self.process.stdin, self.process.stdout, self.process.stderr)


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
    ``logs/mount.log`` of the home. Raises the child's own error, ``Unavailable`` after ``timeout`` seconds.
    """
    point = mount_point(directory)
    flags = {"--allow-other": allow_other, "--xattr": xattr, "--safe-mode": safe_mode, "--tied": tied}
    words = ["mount", os.fspath(point), "--foreground", "--child", *(flag for flag, wanted in flags.items() if wanted)]
    command = children.command(Home(home).path, *words)
    process, facts = children.start(f"the mount of {point}", command, tied=tied, cwd="/", timeout=timeout)
    return MountProcess(Path(facts["mounted"]), process, bool(facts["agent"]))


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
    return open(path, "a", encoding="utf-8", opener=children.private)
