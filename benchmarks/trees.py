"""Trees of files to measure with: realistic names; deterministic; made once and kept below ``build/``."""

from __future__ import annotations

import os
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "build" / "trees"
WORDS = [
    "report",
    "budget",
    "invoice",
    "holiday",
    "photo",
    "draft",
    "letter",
    "contract",
    "meeting",
    "notes",
    "summary",
    "plan",
    "project",
    "index",
    "backup",
    "scan",
    "receipt",
    "recipe",
    "lecture",
    "thesis",
    "chapter",
    "figure",
    "table",
    "data",
    "sample",
    "config",
    "readme",
    "module",
    "client",
    "server",
    "parser",
    "helper",
    "music",
    "album",
    "track",
    "video",
    "clip",
    "season",
    "episode",
    "garden",
    "house",
    "travel",
    "passport",
    "insurance",
    "tax",
    "salary",
    "bank",
    "statement",
]
ENDINGS = (
    "pdf",
    "jpg",
    "png",
    "txt",
    "md",
    "docx",
    "xlsx",
    "mp3",
    "flac",
    "mkv",
    "py",
    "c",
    "h",
    "html",
    "json",
    "eml",
)
FILES_PER_DIRECTORY = 20


def name(random_source: random.Random, serial: int) -> str:
    """A file name such as people and programs give, unique by its serial number."""
    words = "-".join(random_source.choices(WORDS, k=random_source.randint(1, 3)))
    return f"{words}-{serial:06d}.{random_source.choice(ENDINGS)}"


def directories(files: int) -> int:
    """How many directories ``tree`` spreads so many files over."""
    return max(1, files // FILES_PER_DIRECTORY)


def tree(files: int) -> Path:
    """A tree of so many empty files, twenty to a directory, two levels deep; complete when its mark exists."""
    root = ROOT / f"files-{files}"
    mark = ROOT / f"files-{files}.complete"
    if mark.exists():
        return root
    source = random.Random(files)
    serial = 0
    for directory in range(directories(files)):
        place = root / f"{WORDS[directory % len(WORDS)]}-{directory // 500:03d}" / f"part-{directory:05d}"
        place.mkdir(parents=True, exist_ok=True)
        stamp = 1_500_000_000 + source.randrange(250_000_000)
        for _ in range(min(FILES_PER_DIRECTORY, files - serial)):
            path = place / name(source, serial)
            path.touch()
            os.utime(path, (stamp, stamp + source.randrange(1_000_000)))
            serial += 1
    mark.touch()
    return root
