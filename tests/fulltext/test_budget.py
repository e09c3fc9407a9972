"""Protects the memory from many large texts at once: they wait for one another, and none waits for ever."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.hooks import FileRecord
from mosaicfs_fulltext import service
from mosaicfs_fulltext.budget import Budget
from mosaicfs_fulltext.entries import Change, Entry, bytes_of, entry_of, pack
from mosaicfs_fulltext.extraction.extractor import Extractor
from mosaicfs_fulltext.index import embedded
from mosaicfs_fulltext.index.embedded import EmbeddedIndex
from mosaicfs_fulltext.index.engine import Engine
from mosaicfs_fulltext.index.waiting import Queue, Waiting

MOST = 4 * 1024 * 1024
TEXT = "слово и дело " * 50_000
"""1.3 MB in memory."""


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_for_more_than_is_left_waits_for_those_before() -> None:
    budget = Budget(10)
    with budget.share() as first, budget.share() as second, budget.share() as third:
        await first.take(6)
        waiting = asyncio.create_task(second.take(5))
        behind = asyncio.create_task(third.take(1))
        await turns()
        assert not waiting.done()
        assert not behind.done(), "small ones do not overtake for ever"
        first.become(5)
        await waiting
        await turns()
        assert not behind.done()
        second.become(2)
        await behind
        assert budget.free == 2
    assert budget.free == 10


async def test_one_that_is_too_large_for_all_comes_alone() -> None:
    budget = Budget(10)
    with budget.share() as small, budget.share() as large:
        await small.take(1)
        waiting = asyncio.create_task(large.take(1000))
        await turns()
        assert not waiting.done()
        small.become(0)
        await waiting
        large.become(500)
        assert budget.free == -490
    assert budget.free == 10


@pytest.mark.parametrize("granted", [False, True])
async def test_who_gives_up_waiting_leaves_nothing_taken(granted: bool) -> None:
    budget = Budget(10)
    with budget.share() as first, budget.share() as second, budget.share() as third:
        await first.take(10)
        waiting = asyncio.create_task(second.take(10))
        behind = asyncio.create_task(third.take(10))
        await turns()
        if granted:
            first.become(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        first.become(0)
        await behind
    assert budget.free == 10


def waiting(size: int) -> Waiting:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return Waiting(None, None, future, size)  # type: ignore[arg-type]  # no change is looked into


async def test_the_queue_of_an_index_takes_what_there_is_room_for() -> None:
    queue, new = Queue(10), [waiting(4) for _ in range(5)]
    assert queue.fitting(new) == 3
    queue.put(new[:3])
    assert not queue.room.is_set()
    group = queue.take()
    assert not queue.room.is_set(), "what is being put into the index is in memory still"
    assert queue.fitting(new[3:]) == 0
    queue.done(group[:1])
    assert queue.room.is_set()
    assert queue.fitting(new[3:]) == 1
    assert queue.fitting([waiting(1_000), waiting(1)]) == 1


def entry(name: str) -> Entry:
    file = FileRecord(file_id=name, node_id="n", export_path=f"/{name}", name=name, size=1, mtime=1, inode=1)
    return entry_of(file, "text", language="en", packed=pack("some words"))


async def test_a_queue_that_is_never_empty_does_not_keep_a_commit_from_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then tantivy holds what it was given."""
    loop, left, ended = asyncio.get_running_loop(), iter(range(60)), asyncio.Event()
    put, make_durable, pending, most = Engine.apply, Engine.commit, 0, 0

    def apply(self: Engine, change: Change, text: str | None = None) -> None:
        nonlocal pending, most
        put(self, change, text)
        pending += 1
        most = max(most, pending)
        number = next(left, None)
        if number is None:
            loop.call_soon_threadsafe(ended.set)
        else:
            asyncio.run_coroutine_threadsafe(index.apply(entry(str(number))), loop).result(20)

    def commit(self: Engine) -> None:
        nonlocal pending
        make_durable(self)
        pending = 0

    monkeypatch.setattr(Engine, "apply", apply)
    monkeypatch.setattr(Engine, "commit", commit)
    monkeypatch.setattr(embedded, "_MOST_BYTES", 10 * bytes_of(entry("0"), None))
    index = await EmbeddedIndex.open(tmp_path)
    await index.apply(entry("first"))
    await ended.wait()
    await index.flush()
    assert (await index.stats()).documents == 61
    assert most < 20
    await index.close()


def test_bytes_and_no_characters_are_counted() -> None:
    assert bytes_of(None, "a" * 1_000) < 1_100 < 2_000 <= bytes_of(None, "я" * 1_000)  # type: ignore[arg-type]
    assert bytes_of(None, "😀" * 1_000) >= 4_000  # type: ignore[arg-type]


@pytest.mark.parametrize("moved", [False, True])
async def test_many_large_texts_at_once_wait_for_room(start: Any, monkeypatch: pytest.MonkeyPatch, moved: bool) -> None:
    monkeypatch.setattr(service, "MOST_BYTES", MOST)
    monkeypatch.setattr(embedded, "_MOST_WAITING_BYTES", MOST)
    lock, held, most, full = threading.Lock(), 0, 0, threading.Event()

    def read(*arguments: Any) -> Any:
        nonlocal held, most
        extracted = make(*arguments)
        with lock:
            held += 1
            most = max(most, held)
            if most * len(TEXT) * 2 > 3 * MOST:
                full.set()
        return extracted

    def apply(self: Engine, change: Any, text: str | None = None) -> None:
        nonlocal held
        full.wait(1)  # meanwhile as many are read as may be
        full.set()
        put(self, change, text)
        with lock:
            held -= 1

    async with start({"languages": ["ru"]}) as instance:
        files = [instance.record(instance.write(f"{number}.txt", TEXT + str(number))) for number in range(20)]
        if moved:
            await asyncio.gather(*(instance.tell("file.added", file) for file in files))
            await instance.settled()
        where = (service.FileReader, "renamed") if moved else (Extractor, "read_text")
        make, put = getattr(*where), Engine.apply
        monkeypatch.setattr(*where, read)
        monkeypatch.setattr(Engine, "apply", apply)
        former: dict[str, Any] = {"previous_export_path": str(Path("/before"))} if moved else {}
        async with asyncio.timeout(50):
            await asyncio.gather(*(instance.tell("file.modified", file, **former) for file in files))
            await instance.settled()
        assert len(await instance.names("слово", limit=100)) == 20
    assert held == 0
    assert most * len(TEXT) * 2 < 3 * MOST
