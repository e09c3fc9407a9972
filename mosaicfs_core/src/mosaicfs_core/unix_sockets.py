"""Addresses of Unix sockets, which have less room than paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ROOM: Final = 104
"""Bytes that every system has room for, with the one that ends them."""
_OPEN_FILES: Final = Path("/proc/self/fd")


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A path to bind or connect a socket to: a longer one than fits an address is reached through its directory, which
    is open for as long as the block runs. Raises ``OSError``."""
    if len(os.fsencode(path)) < _ROOM or not _OPEN_FILES.is_dir():
        yield os.fspath(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_OPEN_FILES}/{directory}/{path.name}"
    finally:
        os.close(directory)
