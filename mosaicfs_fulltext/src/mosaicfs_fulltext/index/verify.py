"""Whether the files of an index are as they were written.

tantivy ends each file of a segment with a CRC-32 of it and reads past damage without looking; so it is looked for here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

_MAGIC: Final = 1337
_CHUNK: Final = 1 << 20
_MOST_FOOTER: Final = 50_000
_PARTS: Final = ("fast", "fieldnorm", "idx", "pos", "store", "term")


def damage(directory: Path, given_up: Callable[[], bool]) -> str | None:
    """What is wrong with the index in a directory, a sentence; None when all its files are whole.

    Reads every byte of what ``meta.json`` names, so nothing may be written meanwhile. ``given_up`` is asked between two
    pieces; once it says so, the rest is taken for whole.
    """
    try:
        wanted = _wanted(json.loads((directory / "meta.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"meta.json cannot be read: {error}"
    for name in wanted:
        try:
            whole = _whole(directory / name, given_up)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if not whole:
            return f"{name} is not as it was written"
    return None


def _wanted(meta: Mapping[str, Any]) -> list[str]:
    """The names of the files that the index consists of."""
    names: list[str] = []
    for segment in meta["segments"]:
        stem = segment["segment_id"].replace("-", "")
        names += [f"{stem}.{part}" for part in _PARTS]
        if segment["deletes"] is not None:
            names.append(f"{stem}.{segment['deletes']['opstamp']}.del")
    return names


def _whole(path: Path, given_up: Callable[[], bool]) -> bool:
    """Whether a file has the checksum that stands at its end: JSON, its length, a magic number."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length, magic = int.from_bytes(tail[:4], "little"), int.from_bytes(tail[4:], "little")
        if len(tail) < 8 or magic != _MAGIC or not 0 < length <= min(_MOST_FOOTER, size - 8):
            return False
        body = size - 8 - length
        file.seek(body)
        try:
            expected = json.loads(file.read(length))["crc"]
        except (ValueError, KeyError, TypeError):
            return False
        file.seek(0)
        found, left = 0, body
        while left and (chunk := file.read(min(_CHUNK, left))):
            if given_up():
                return True
            found, left = zlib.crc32(chunk, found), left - len(chunk)
    return left == 0 and found == expected
