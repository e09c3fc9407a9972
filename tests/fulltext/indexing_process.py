"""A process that indexes and is killed: takes a home, says on a line each what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from mosaicfs_core.hooks import FileRecord
from mosaicfs_fulltext.entries import Removal, entry_of, pack
from mosaicfs_fulltext.index.embedded import EmbeddedIndex


async def run(home: Path, first: int) -> None:
    """Put files in, and every tenth out again, until killed."""
    index = await EmbeddedIndex.open(home)
    numbers = itertools.count(first)

    async def work() -> None:
        for number in numbers:
            name = f"f{number}"
            text = f"common text number{number} " + "filler words " * 50
            file = FileRecord(file_id=name, node_id="n", export_path=f"/{name}", name=name, size=1, mtime=1, inode=1)
            await index.apply(entry_of(file, "text", language="en", packed=pack(text)), text)
            print(f"put {name}", flush=True)
            if number % 10 == 0:
                await index.apply(Removal(file_id=name))
                print(f"out {name}", flush=True)

    async def commit() -> None:
        while True:
            await index.flush()
            await asyncio.sleep(0)

    await asyncio.gather(commit(), *(work() for _ in range(16)))


def main(home: str, first: str) -> None:
    """Run until killed."""
    asyncio.run(run(Path(home), int(first)))


if __name__ == "__main__":
    main(*sys.argv[1:])
