"""The folders a user asks to index: checked before anything starts, with what is wrong and the way out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mosaicfs_core.content.roots import root_path
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.mount_table import mounts

SAMPLE: Final = "sample"


def check_watch_paths(given: Sequence[str], home: Home, mount: Path | None) -> list[str]:
    """The given folders as export paths. Raises ``UserError`` that names every one that cannot be indexed, and why."""
    problems = [problem for text in given if (problem := _problem(text, home, mount))]
    if problems:
        raise UserError("; ".join(problems), field="paths")
    return [root_path(text) for text in given]


def default_root(home: Home) -> tuple[str, str]:
    """What to index when nobody said (the user's documents, or a sample tree made in the home), and what to say."""
    documents = Path.home() / "Documents"
    if documents.is_dir() and os.access(documents, os.R_OK | os.X_OK) and any(documents.iterdir()):
        return str(documents), f"No folder given: indexing {documents}"
    from mosaicfs_core.cli.sample import write_sample

    sample = write_sample(home.path / SAMPLE)
    return str(sample), f"No folder given: indexing a small sample tree in {sample}"


def _problem(text: str, home: Home, mount: Path | None) -> str | None:
    if not text.strip():
        return f"{text!r} is no path: name a folder (an empty variable in a script?)"
    path = os.path.abspath(os.path.expanduser(text))
    if not text.isascii() and text.encode("utf-8", "replace").decode() != text:
        return f"{text!a} has a name that is not UTF-8: name a folder above it"
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
    real = Path(os.path.realpath(path))
    if mount is not None and _within(real, Path(os.path.realpath(mount))):
        return f"{text} lies inside the mount {mount}, MosaicFS's own tree: name the original folder"
    if _on_mosaicfs(real):
        return f"{text} lies inside a MosaicFS mount: name the original folder"
    if _within(real, Path(os.path.realpath(home.path))) and not _within(real, home.path / SAMPLE):
        return f"{text} lies inside the home of MosaicFS, {home.path}: name another folder"
    return None


def _within(path: Path, directory: Path) -> bool:
    return path == directory or directory in path.parents


def _on_mosaicfs(path: Path) -> bool:
    """Whether a folder is in the tree of some MosaicFS mount, this instance's or another's."""
    return any(mount.kind == "fuse.mosaicfs" and mount.holds(str(path)) for mount in mounts())
