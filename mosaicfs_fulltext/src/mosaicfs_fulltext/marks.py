"""Notes beside the index that outlive it: of which format it is, and that it has to be filled again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mosaicfs_fulltext.index.schema import FORMAT

_FORMAT: Final = "format"
_REFILL: Final = "refill"
_BACKEND: Final = "backend"
_DAMAGE: Final = "damage"


def refill_reason(directory: Path) -> str | None:
    """Why the index in a directory lacks files that the host counts as done; None when it does not."""
    try:
        return (directory / _REFILL).read_text(encoding="utf-8") or "it was damaged"
    except FileNotFoundError:
        return None


def want_refill(directory: Path, reason: str) -> None:
    """Note, durably, that the index has to be filled again."""
    _write(directory / _REFILL, reason)


def refilled(directory: Path) -> None:
    """The index has everything again."""
    (directory / _REFILL).unlink(missing_ok=True)


def backend_used(directory: Path) -> str | None:
    """Which index was used last, None before the first."""
    try:
        return (directory / _BACKEND).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def note_backend(directory: Path, place: str) -> None:
    """Note which index is used."""
    if backend_used(directory) != place:
        _write(directory / _BACKEND, place)


def note_damage(directory: Path, what: str) -> None:
    """Note, durably, that the index cannot be used: found while it was in use, it is made anew at the next opening."""
    _write(directory / _DAMAGE, what)


def damage_noted(directory: Path) -> str | None:
    """What was found to be wrong with the index, None when nothing was."""
    try:
        return (directory / _DAMAGE).read_text(encoding="utf-8") or "it was damaged"
    except FileNotFoundError:
        return None


def forget_damage(directory: Path) -> None:
    """The damaged index is gone."""
    (directory / _DAMAGE).unlink(missing_ok=True)


def format_problem(directory: Path) -> str | None:
    """Why an index that was made before cannot go on: it has another format, or is gone. None at the first start, and
    when nothing is wrong."""
    try:
        noted = (directory / _FORMAT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    if noted != str(FORMAT):
        return f"it has format {noted[:20]!r}, this version writes {FORMAT}"
    if not (directory / "index").exists():
        return "it was gone"
    return None if (directory / "index" / "meta.json").exists() else "meta.json is gone"


def note_format(directory: Path) -> None:
    """Note the format of an index that was made just now."""
    if not (directory / _FORMAT).exists() or (directory / _FORMAT).read_text(encoding="utf-8") != str(FORMAT):
        _write(directory / _FORMAT, str(FORMAT))


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
