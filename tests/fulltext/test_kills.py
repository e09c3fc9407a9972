"""Protects what was acknowledged: an indexing process is killed at any instant, and nothing of it is lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from mosaicfs_fulltext.index.embedded import EmbeddedIndex

PROGRAM = Path(__file__).with_name("indexing_process.py")
ROUNDS = 8


async def test_nothing_acknowledged_is_lost_by_kill_9(fork_server: Any, tmp_path: Path) -> None:
    server = fork_server(PROGRAM)
    chance = random.Random(20260216)
    said: list[str] = []
    for round_ in range(ROUNDS):
        server.start(str(tmp_path), str(round_ * 1_000_000))
        said += [server.line() for _ in range(chance.randint(1, 400))]
        said += server.kill()
    # Every tenth is taken out right after; it may be out without a word of it.
    present = {line[4:] for line in said if line.startswith("put ") and not line.endswith("0")}
    removed = {line[4:] for line in said if line.startswith("out ")}
    assert len(present) > 100
    index = await EmbeddedIndex.open(tmp_path)
    try:
        names = sorted(present | removed)
        known = await index.known(names)
        assert present <= known.keys()
        assert not removed & known.keys()
        # Each one once, however often it was taken from the journal.
        some = sorted(present)[::37]
        for name in some:
            assert [result.file_id for result in await index.search(f"number{name[1:]}", 10, 5)] == [name]
    finally:
        await index.close()
