"""Fills a cache and is killed, again and again; after each kill every byte that the cache gives is compared.

Run as a program: URL DIRECTORY ROUNDS SEED. It forks once per round for the filling and once for the comparing, so that
neither pays for the imports. Exits with 0 when no wrong byte was seen.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.content.bed import MIB, OWNER, content

from mosaicfs_core.content.cache import Cache, CacheTier
from mosaicfs_core.content.cache.offline import open_cached
from mosaicfs_core.content.owners import Owners
from mosaicfs_core.content.routes import Route
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.security.requests import PlainRequests

SIZES = {"a": 300_000, "b": 2 * MIB + 1, "c": 5 * MIB, "big": 52 * MIB + 77}


def contents() -> dict[str, bytes]:
    """The owner's files."""
    return {name: content(size, number) for number, (name, size) in enumerate(SIZES.items())}


def record(name: str) -> FileRecord:
    """The document of a file."""
    return FileRecord(
        file_id=f"{OWNER}.{name}",
        node_id=OWNER,
        export_path=f"/files/{name}",
        name=name,
        size=SIZES[name],
        mtime=1_000_000,
        inode=1000,
    )


async def opened(url: str, directory: Path) -> tuple[Cache, PlainRequests]:
    """A cache that is too small for everything."""
    plain = PlainRequests(url)
    cache = Cache(directory, Owners(lambda node_id: [Route(url, plain)]), capacity=40 * MIB, minimum_free=0)
    await cache.start()
    return cache, plain


async def fill(url: str, directory: Path, seed: int) -> None:
    """Read at random, for ever."""
    cache, _ = await opened(url, directory)
    tier, chance = CacheTier("node-me", cache), random.Random(seed)

    async def read() -> None:
        while True:
            name = chance.choice(list(SIZES))
            with await tier.open(record(name)) as source:
                for _ in range(chance.randrange(1, 5)):
                    await source.read(chance.randrange(SIZES[name]), chance.randrange(1, 3 * MIB))

    await asyncio.gather(*(read() for _ in range(4)))


def compare_offline(directory: Path, expected: dict[str, bytes]) -> None:
    """What the mount would serve without an agent."""
    for name, data in expected.items():
        try:
            cached = open_cached(directory, record(name))
        except MosaicError:
            continue
        for start in range(0, len(data), MIB):
            stop = min(start + MIB, len(data))
            try:
                cached.verify(start, stop)
            except MosaicError:
                continue
            assert os.pread(cached.descriptor, stop - start, start) == data[start:stop], (name, start)
        cached.close()


async def compare(url: str, directory: Path, expected: dict[str, bytes]) -> None:
    """What the cache serves after its start."""
    cache, plain = await opened(url, directory)
    tier = CacheTier("node-me", cache)
    for name, data in expected.items():
        with await tier.open(record(name)) as source:
            for start in range(0, len(data), 4 * MIB):
                assert await source.read(start, 4 * MIB) == data[start : start + 4 * MIB], (name, start)
    await cache.close()
    await plain.close()


def forked(work: object, seconds: float | None = None) -> int:
    """Run in a child, killed after so many seconds; the status it ended with."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent reads it
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main() -> int:
    """See above."""
    url, directory, rounds, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    expected, chance = contents(), random.Random(seed)
    for number in range(rounds):
        died = forked(lambda: asyncio.run(fill(url, directory, chance.randrange(1 << 30))), chance.uniform(0.02, 0.5))
        if not os.WIFSIGNALED(died):
            print("the filling ended by itself", file=sys.stderr)
            return 1
        if forked(lambda: compare_offline(directory, expected)):
            return 1
        if number % 4 == 3 and forked(lambda: asyncio.run(compare(url, directory, expected))):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
