"""A small tree of varied files, for a first look on a machine whose user has no documents yet."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final

_DAY: Final = 86_400

# Path, content, and age in days, so that filters by kind, size and age all have something to show.
_TEXTS: Final = (
    (
        "Documents/Welcome.md",
        "# Welcome to MosaicFS\n\nThis folder is a sample: delete it when you have your own.\n",
        0,
    ),
    ("Documents/Work/2025/report.txt", "Report\n\nEverything went as planned.\n", 90),
    ("Documents/Work/2026/report.txt", "Report\n\nEverything goes as planned.\n", 3),
    ("Documents/Work/archive/old-report.txt", "Report\n\nSuperseded.\n", 900),
    ("Documents/Work/numbers.csv", "month,income\n2026-01,100\n2026-02,120\n", 12),
    ("Documents/Letters/to a friend.txt", "Dear friend,\n\nall is well.\n", 400),
    ("Documents/Recipes/bread.md", "# Bread\n\nFlour, water, salt, time.\n", 30),
    ("Notes/ideas.txt", "- one tree over everything\n", 1),
    ("Notes/Ünïcödé ☃.txt", "Names may hold any character.\n", 2),
    ("Code/hello.py", 'print("hello")\n', 200),
    ("Code/data.json", '{"answer": 42}\n', 200),
)


def write_sample(root: Path, now: float | None = None) -> Path:
    """Write the sample tree once; a tree that is there already is left as it is. Returns ``root``."""
    if root.exists():
        return root
    import time

    moment = time.time() if now is None else now
    for name, text, days in _TEXTS:
        _write(root / name, text.encode(), moment - days * _DAY)
    _write(root / "Pictures/mosaic.png", _picture(64), moment - 20 * _DAY)
    _write(root / "Large/zeros.bin", bytes(2_000_000), moment - 60 * _DAY)
    return root


def _write(path: Path, data: bytes, changed: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (changed, changed))


def _picture(size: int) -> bytes:
    """A PNG of coloured squares."""
    colours = ((11, 98, 196), (46, 125, 50), (178, 106, 0), (123, 31, 162))
    rows = b"".join(b"\0" + b"".join(bytes(colours[(x // 16 + y // 16) % 4]) for x in range(size)) for y in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body
