"""Which files and directories may be relied on to run what lies there: nobody else may write to them."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def open_to_others(path: Path, entry: os.stat_result) -> str | None:
    """Why a file or directory cannot be relied on, in a sentence: others may write to it, or it is somebody else's.
    ``entry`` is what ``stat`` says of it; None when it can."""
    if entry.st_mode & stat.S_IWOTH:
        return f"everybody may write to {path}: chmod o-w {path}"
    if entry.st_uid not in (0, os.geteuid()):
        return f"{path} belongs neither to this user nor to root: chown {os.geteuid()} {path}"
    return None
