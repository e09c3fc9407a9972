"""Mount points: is one usable, cleaning up after a killed predecessor, tuning read-ahead."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

from mosaicfs_core.errors import UserError
from mosaicfs_core.mount_table import OWN_KIND, mount_point, mounts_at

FILE_SYSTEM_TYPE: Final = OWN_KIND
SUBTYPE: Final = FILE_SYSTEM_TYPE.removeprefix("fuse.")
# Requests to a FUSE file are as long as the read-ahead window at most; 1 MiB is the kernel's own limit for one.
_READ_AHEAD_KB: Final = 1024
_CLEAN_UP_S: Final = 10.0
_ANSWER_S: Final = 3.0
_INSTALL_HINT: Final = "Debian and Ubuntu: sudo apt install fuse3; Fedora: sudo dnf install fuse3"


def vacant(directory: Path) -> Path:
    """Clean up a dead mount and refuse what must not be covered. Makes nothing: the directory may be missing.

    Returns the absolute path. Raises ``UserError`` with the way out.
    """
    point = mount_point(directory)
    clear_stale(point)
    if mounts_at(point):
        raise UserError(f"Something is mounted on {point} already; unmount it or choose another directory")
    try:
        with os.scandir(point) as entries:
            occupied = next(entries, None) is not None
    except FileNotFoundError:
        return point
    except NotADirectoryError:
        raise UserError(f"{point} is not a directory; choose another place for the mount") from None
    except OSError as error:
        raise UserError(f"Cannot read {point}: {error.strerror}") from error
    if occupied:
        raise UserError(f"{point} is not empty: a mount would hide what is in it; choose an empty directory")
    return point


def make(point: Path) -> None:
    """Create the directory of a mount, unless it is there. Raises ``UserError``."""
    try:
        point.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot create {point}: {error.strerror}") from error


def clear_stale(point: Path) -> None:
    """Unmount what a killed mount process left on a path. Raises ``UserError`` when a living one serves it.

    Mounting over a stale mount would stack silently, so this goes on until the mount table is clear.
    """
    deadline = time.monotonic() + _CLEAN_UP_S
    while ours := [mount for mount in mounts_at(point) if mount.kind == FILE_SYSTEM_TYPE]:
        if _answers(point):
            raise UserError(f"{point} is mounted already; `mosaicfs unmount {point}` ends that mount")
        result = unmount(point, lazy=True)
        if result.returncode and time.monotonic() > deadline:
            raise UserError(
                f"A dead mount ({ours[-1].source}) on {point} cannot be removed: {result.stderr.strip()}; "
                f"try `sudo umount -l {point}`"
            )
        if result.returncode:
            time.sleep(0.05)


def unmount(point: Path, *, lazy: bool = False) -> subprocess.CompletedProcess[str]:
    """Run ``fusermount3 -u`` on a path (``-z`` when lazy). Raises ``UserError`` when the program is missing."""
    command = [require_fusermount(), "-uz" if lazy else "-u", os.fspath(point)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def require_fusermount() -> str:
    """The path of ``fusermount3``; raises ``UserError`` with the command that installs it."""
    program = shutil.which("fusermount3")
    if program is None:
        raise UserError(f"fusermount3 is missing. Install FUSE 3 ({_INSTALL_HINT})")
    return program


def require_device(device: Path = Path("/dev/fuse")) -> None:
    """Raise ``UserError`` unless this user can open the FUSE device; the message says what to run."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise UserError(f"{device} does not exist: load the kernel module with `sudo modprobe fuse`") from None
    except PermissionError:
        raise UserError(f"This user may not open {device}: run `sudo chmod 666 {device}`, or mount as root") from None
    except OSError as error:
        raise UserError(
            f"{device} cannot be used ({error.strerror}): load the module with `sudo modprobe fuse`"
        ) from None


def widen_read_ahead(point: Path) -> bool:
    """Let the kernel ask for 1 MiB at a time; needs root, and is only a matter of speed. Returns whether it worked."""
    mounts = mounts_at(point)
    if not mounts:
        return False
    try:
        Path(f"/sys/class/bdi/{mounts[-1].device}/read_ahead_kb").write_text(str(_READ_AHEAD_KB), encoding="ascii")
    except OSError:
        return False
    return True


def _answers(point: Path) -> bool:
    """Whether a mount's process lives. For a dead one the kernel answers at once; a stopped one counts as living."""
    errors: list[int] = []

    def ask() -> None:
        try:
            os.statvfs(point)
        except OSError as error:
            errors.append(error.errno or errno.EIO)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWER_S)
    return errno.ENOTCONN not in errors
