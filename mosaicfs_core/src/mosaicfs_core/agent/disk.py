"""What the agent asks the disk about single files: is it there, is it really gone, when was it made."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from functools import cache
from typing import Any, Final

from mosaicfs_core.documents import paths
from mosaicfs_core.hooks import Entry, filesystem_id

_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
_MASK_AT: Final = 0
_BTIME_AT: Final = 80  # offset of stx_btime: seconds as a signed 64-bit, then nanoseconds as an unsigned 32-bit number


def is_file(export_path: str) -> bool:
    """Whether there is a regular file (no link) at an export path of this machine."""
    try:
        return stat.S_ISREG(os.lstat(paths.unescape(export_path)).st_mode)
    except OSError:
        return False


def entry_at(export_path: str, device: int) -> Entry | None:
    """The regular file at an export path of this machine, as a listing on the filesystem ``device`` would name it."""
    try:
        facts = os.lstat(paths.unescape(export_path))
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return Entry(paths.name_of(export_path), facts.st_size, facts.st_mtime_ns // 1000, device, facts.st_ino)


def is_gone(export_path: str, device: int) -> bool:
    """Whether the file at the path is gone while the filesystem it was on is still mounted there.

    ``device`` is the filesystem id noted with the file: the nearest ancestor that exists must lie on it, else the disk
    is unmounted and nothing can be said.
    """
    path = paths.unescape(export_path)
    if is_file(export_path):
        return False
    while True:
        path = os.path.dirname(path)
        try:
            return filesystem_id(path, os.stat(path).st_dev) == device
        except OSError:  # this directory is gone as well, or goes at this moment
            if path in (b"/", b""):
                return False


def birth_time(export_path: str) -> int | None:
    """When the file was made, in microseconds since the epoch; None where the system does not tell."""
    path = paths.unescape(export_path)
    if sys.platform == "darwin":
        try:
            return int(os.lstat(path).st_birthtime * 1_000_000)
        except OSError:  # gone meanwhile
            return None
    statx = _statx()
    if statx is None:
        return None
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer) != 0:
        return None
    if not int.from_bytes(buffer.raw[_MASK_AT : _MASK_AT + 4], sys.byteorder) & _STATX_BTIME:
        return None
    seconds = int.from_bytes(buffer.raw[_BTIME_AT : _BTIME_AT + 8], sys.byteorder, signed=True)
    nanoseconds = int.from_bytes(buffer.raw[_BTIME_AT + 8 : _BTIME_AT + 12], sys.byteorder)
    return seconds * 1_000_000 + nanoseconds // 1000


@cache
def _statx() -> Any:
    """The C library's ``statx``, or None (Python has no binding for it)."""
    try:
        return ctypes.CDLL(None).statx
    except (AttributeError, OSError):
        return None
