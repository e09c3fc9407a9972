"""Protects the speed of filter chains: 50 steps over 100,000 files in two seconds on an idle machine."""

from __future__ import annotations

import time
from typing import Any

from mosaicfs_core.rules import FileFacts, compile_chain

NOW = 1_700_000_000_000_000
STEPS: list[dict[str, Any]] = [
    {"op": "glob", "pattern": "**/*.{pdf,docx,md,txt,py}"},
    {"op": "glob", "pattern": "**/archive/**", "invert": True},
    {"op": "glob", "pattern": "/home/*/Doc*/**/f*"},
    {"op": "regex", "pattern": "URGENT", "on_match": "exclude"},
    {"op": "regex", "pattern": "secret[0-9]+", "flags": "i", "on_match": "exclude"},
    {"op": "age", "max_days": 9000},
    {"op": "size", "min_bytes": 1},
    {"op": "mime", "globs": ["text/*", "application/*"]},
    {"op": "node", "node_ids": ["n"]},
    {"op": "size", "max_bytes": 10**12},
]


def test_fifty_steps_that_all_must_be_asked() -> None:
    """A tenth of the files, five times the time allowed for them: shared machines are slow, regressions are slower."""
    chain = compile_chain(STEPS * 5, strict=True)
    files = [
        FileFacts(
            "n", f"/home/user/Documents/d{number % 977}/f{number}.txt", f"f{number}.txt", number + 1, NOW, "text/plain"
        )
        for number in range(10_000)
    ]
    began = time.process_time()
    passed = sum(chain.verdict(facts, now=NOW) for facts in files)
    assert passed == len(files)
    assert time.process_time() - began < 1.0
