"""The folders a user asks to index: checked before anything starts, with what is wrong and the way out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mosaicfs_core.content.roots import may_be_path, root_path
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.mount_table import PSEUDO_KINDS, mount_of, own_points, resolved

SAMPLE: Final = "sample"


def check_watch_paths(given: Sequence[str], home: Home, mount: Path | None) -> list[str]:
    """The given folders as export paths. Raises ``UserError`` that names every one that cannot be indexed, and why, and
    those that can be."""
    found = {text: why_not_watchable(text, home, mount) for text in given}
    problems = [problem for problem in found.values() if problem]
    if problems:
        good = [text for text, problem in found.items() if not problem]
        rest = f". Nothing was changed; to go on now, name the others alone: {shlex.join(good)}" if good else ""
        raise UserError("; ".join(problems) + rest, field="paths")
    return [root_path(text) for text in given]


def why_not_watchable(text: str, home: Home, mount: Path | None = None) -> str | None:
    """What keeps a folder of this machine from being indexed, and the way out; None when nothing does. Asks no mount of
    MosaicFS anything. Blocks."""
    if problem := _no_path(text):
        return problem
    path = os.path.abspath(os.path.expanduser(text))
    real = Path(resolved(path, own_points()))
    if problem := _of_a_mount(text, real, mount) or _unreadable(text, path):
        return problem
    if _within(real, Path(os.path.realpath(home.path))) and not _within(real, home.path / SAMPLE):
        return f"{text} lies inside the home of MosaicFS, {home.path}: name another folder"
    return None


def _no_path(text: str) -> str | None:
    if not text.strip():
        return f"{text!r} is no path: name a folder (an empty variable in a script?)"
    if "\0" in text:
        return f"{text!a} holds a NUL (a zero byte), which no path may have: name an existing folder"
    if not may_be_path(text):
        return f"{text!a} has a name that is not UTF-8: name a folder above it"
    return None


def _of_a_mount(text: str, real: Path, mount: Path | None) -> str | None:
    """What is wrong with the filesystem that a folder lies on: it is MosaicFS's own, or one that keeps no files."""
    if mount is not None and _within(real, Path(os.path.realpath(mount))):
        return f"{text} lies inside the mount {mount}, MosaicFS's own tree: name the original folder"
    if any(_within(real, Path(point)) for point in own_points()):
        return f"{text} lies inside a MosaicFS mount: name the original folder"
    holder = mount_of(os.fspath(real))
    # In a container the devices lie on an ordinary filesystem.
    if holder is not None and (holder.kind in PSEUDO_KINDS or holder.point == "/dev"):
        shown = f"{holder.point} ({holder.kind})"
        return f"{text} lies in {shown}, where the system shows itself and keeps no files: name a folder of files"
    return None


def _unreadable(text: str, path: str) -> str | None:
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
    return None


def _within(path: Path, directory: Path) -> bool:
    return path == directory or directory in path.parents
