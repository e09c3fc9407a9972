"""A look into the zip files that documents are, before a library unpacks them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

_MOST_ENTRIES: Final = 50_000
_RATIO: Final = 200
_UNSUSPECTED: Final = 16 * 1024 * 1024


def bomb_problem(path: Path, most: int) -> str | None:
    """Why a zip file should not be unpacked: too many entries, more than ``most`` bytes in all, or far more than it is
    large itself. None when nothing speaks against it, or when it is no zip file.

    A directory that lies about the sizes is found out by the limits of the process that unpacks.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return None
    if len(entries) > _MOST_ENTRIES:
        return f"it holds {len(entries):,} files, more than {_MOST_ENTRIES:,}"
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > most:
        return f"it unpacks to {unpacked:,} bytes, more than {most:,}"
    if unpacked > _UNSUSPECTED and unpacked > _RATIO * path.stat().st_size:
        return f"it unpacks to {unpacked:,} bytes, more than {_RATIO} times its size"
    return None
