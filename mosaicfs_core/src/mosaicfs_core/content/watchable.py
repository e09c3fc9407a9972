"""The folders a user asks to index: checked before anything starts, with what is wrong and the way out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mosaicfs_core.content.roots import may_be_path, root_path
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.mount_table import own_points, resolved

SAMPLE: Final = "sample"


def check_watch_paths(given: Sequence[str], home: Home, mount: Path | None) -> list[str]:
    """The given folders as export paths. Raises ``UserError`` that names every one that cannot be indexed, and why."""
    problems = [problem for text in given if (problem := why_not_watchable(text, home, mount))]
    if problems:
        raise UserError("; ".join(problems), field="paths")
    return [root_path(text) for text in given]


def why_not_watchable(text: str, home: Home, mount: Path | None = None) -> str | None:
    """What keeps a folder of this machine from being indexed, and the way out; None when nothing does. Asks no mount of
    MosaicFS anything. Blocks."""
    if not text.strip():
        return f"{text!r} is no path: name a folder (an empty variable in a script?)"
    if not may_be_path(text):
        return f"{text!a} has a name that is not UTF-8, or a NUL: name a folder above it"
    path = os.path.abspath(os.path.expanduser(text))
    real = Path(resolved(path, own_points()))
    if mount is not None and _within(real, Path(os.path.realpath(mount))):
        return f"{text} lies inside the mount {mount}, MosaicFS's own tree: name the original folder"
    if any(_within(real, Path(point)) for point in own_points()):
        return f"{text} lies inside a MosaicFS mount: name the original folder"
    try:
        with os.scandir(path):
            pass
    except FileNotFoundError:
        return f"{text} does not exist: create it, or name another folder"
    except NotADirectoryError:
        return f"{text} is a file: name the folder that holds it"
    except PermissionError:
        return f"{text} cannot be read by this user: change its permissions, or name another folder"
    except OSError as error:
        return f"{text} cannot be read: {error.strerror}"
    if _within(real, Path(os.path.realpath(home.path))) and not _within(real, home.path / SAMPLE):
        return f"{text} lies inside the home of MosaicFS, {home.path}: name another folder"
    return None


def _within(path: Path, directory: Path) -> bool:
    return path == directory or directory in path.parents
