"""Protects what becomes of events: files come, change, move, go, come again, and vanish before they are read."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_fulltext import registry
from mosaicfs_fulltext.settings import Settings
from mosaicfs_fulltext.threads import Threads


async def test_a_file_is_found_by_its_text_its_name_and_its_folder(start: Any) -> None:
    async with start() as instance:
        await instance.add("Taxes/return-2025.txt", "The assessment was delivered by courier.")
        await instance.add("notes.txt", "Nothing of interest in here.")
        await instance.settled()
        assert await instance.names("courier") == ["return-2025.txt"]
        assert await instance.names("return 2025") == ["return-2025.txt"]
        assert await instance.names("path:taxes") == ["return-2025.txt"]
        (hit,) = (await instance.envelope("courier")).results
        (fragment,) = hit.fragments
        ((begin, end),) = fragment.highlights
        assert fragment.text[begin:end] == "courier"


async def test_an_event_leaves_no_annotation(start: Any) -> None:
    async with start() as instance:
        assert await instance.tell("file.added", instance.record(instance.write("a.txt", "one two"))) is None


async def test_a_changed_file_is_found_by_what_it_says_now(start: Any) -> None:
    async with start() as instance:
        file = await instance.add("draft.txt", "the first wording")
        instance.write("draft.txt", "the second phrasing")
        await instance.tell("file.modified", instance.record(Path(file.export_path)))
        await instance.settled()
        assert await instance.names("phrasing") == ["draft.txt"]
        assert await instance.names("wording") == []
        assert (await instance.widget())["data"]["documents"] == 1


async def test_events_that_come_again_change_nothing(start: Any) -> None:
    async with start() as instance:
        file = await instance.add("again.txt", "once upon a time")
        for _ in range(3):
            await instance.tell("file.added", file)
        await instance.settled()
        assert await instance.names("upon") == ["again.txt"]
        for _ in range(2):
            await instance.tell("file.deleted", file)
        await instance.settled()
        assert (await instance.widget())["data"]["documents"] == 0


async def test_a_moved_file_is_found_under_its_new_name_without_being_read(start: Any) -> None:
    async with start() as instance:
        file = await instance.add("before.txt", "a very particular sentence", file_id="node.one")
        await instance.settled()
        gone = Path(file.export_path)
        moved = instance.record(gone.with_name("after.md"), file_id="node.one", size=file.size, mtime=file.mtime)
        gone.unlink()
        await instance.tell("file.modified", moved, previous_export_path=file.export_path)
        await instance.settled()
        assert await instance.names("name:after particular") == ["node.one"]
        assert await instance.names("name:before") == []


async def test_a_moved_file_that_also_changed_is_read(start: Any) -> None:
    async with start() as instance:
        file = await instance.add("before.txt", "old words", file_id="node.one")
        await instance.settled()
        moved = instance.record(instance.write("after.txt", "new words entirely"), file_id="node.one")
        await instance.tell("file.modified", moved, previous_export_path=file.export_path)
        await instance.settled()
        assert await instance.names("entirely") == ["node.one"]
        assert await instance.names("old") == []


@pytest.mark.logs("vanished.txt is not on disk any more")
async def test_a_file_that_vanished_comes_again_until_its_deletion_is_told(start: Any) -> None:
    async with start() as instance:
        path = instance.write("vanished.txt", "here for a moment")
        file = instance.record(path)
        path.unlink()
        with pytest.raises(PluginError, match="any more"):
            await instance.tell("file.added", file)
        await instance.tell("file.deleted", file)
        await instance.settled()
        assert (await instance.widget())["data"]["documents"] == 0


@pytest.mark.logs("any more")
async def test_what_took_a_files_place_is_not_opened(start: Any) -> None:
    async with start() as instance:
        file = instance.record(instance.write("was-a-file.txt", "text"))
        Path(file.export_path).unlink()
        os.mkfifo(file.export_path)
        with pytest.raises(PluginError, match="any more"):
            await instance.tell("file.added", file)


async def test_a_file_that_grows_while_it_is_read_is_indexed_and_then_read_again(start: Any) -> None:
    async with start() as instance:
        path = instance.write("growing.log", "first line\n")
        file = instance.record(path)
        with path.open("a") as log:
            log.write("second thoughts\n")
        await instance.tell("file.added", file)
        await instance.tell("file.modified", instance.record(path))
        await instance.settled()
        assert await instance.names("thoughts") == ["growing.log"]


async def test_a_file_that_may_not_be_read_is_found_by_its_name_and_named(start: Any, tmp_path: Path) -> None:
    async with start({"max_file_mb": 1}) as instance:
        await instance.add("huge.pdf", b"%PDF-1.4\n" + b" " * (1 << 20))
        await instance.settled()
        assert await instance.names("huge") == ["huge.pdf"]
        data = (await instance.widget())["data"]
        assert data["failures"] == 1
        (failed,) = data["failed_files"]
        assert failed["path"].endswith("huge.pdf")
        assert failed["reason"] == "it is larger than 1 MB"


async def test_files_with_odd_names_are_read(start: Any) -> None:
    async with start() as instance:
        for number, name in enumerate((b"new\nline.txt", b"not utf-8 \xff\xfe.txt", "grün 東京.txt".encode())):
            path = Path(os.fsdecode(os.path.join(os.fsencode(instance.folder), name)))
            path.write_text(f"content number{number}")
            await instance.tell("file.added", instance.record(path, file_id=f"node.{number}"))
        await instance.settled()
        for number in range(3):
            assert await instance.names(f"number{number}") == [f"node.{number}"]
        assert await instance.names("gruen OR grün") == ["node.2"]
        assert await instance.names("京") == ["node.2"]


async def test_pictures_and_empty_files_are_found_by_name(start: Any) -> None:
    async with start() as instance:
        await instance.add("holiday.jpg", b"\xff\xd8\xff\xe0" + bytes(200), mime_type="image/jpeg")
        await instance.add("program", b"\x7fELF" + bytes(500))
        await instance.add("empty.txt", b"")
        await instance.settled()
        assert await instance.names("holiday") == ["holiday.jpg"]
        data = (await instance.widget())["data"]
        assert (data["documents"], data["with_text"], data["failures"]) == (3, 0, 0)


async def test_many_at_once_are_acknowledged_together_and_all_found(start: Any) -> None:
    async with start() as instance:
        await instance.tell("sync.started", trigger="manual")
        await asyncio.gather(*(instance.add(f"{number}.txt", f"word{number} common") for number in range(200)))
        await instance.settled()
        assert len(await instance.names("common", limit=500)) == 200
        assert await instance.names("word77") == ["77.txt"]


async def test_settings_changed_under_way_take_effect_with_the_next_event(start: Any) -> None:
    async with start({"max_text_kb": 16}) as instance:
        long = "filler " * 4000 + "needle"
        await instance.add("one.txt", long)
        await instance.settled()
        assert await instance.names("needle") == []
        await instance.harness.instance("fulltext", {"max_text_kb": 64})
        await instance.add("two.txt", long)
        await instance.settled()
        assert await instance.names("needle") == ["two.txt"]


class Opened:
    """Stands for the service, and for its context."""

    broken, settings, closed = False, Settings(), False
    config: Mapping[str, Any] = {}

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("patient", [True, False])
async def test_who_uses_the_index_is_let_finish_before_it_closes(
    monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    monkeypatch.setattr(registry, "_LET_FINISH_S", 60.0)
    service: Any = Opened()

    async def opened(*_: Any) -> Any:
        return service

    monkeypatch.setattr(registry.Service, "open", opened)
    place = registry._Place(service)
    async with place.using(service):
        closing = asyncio.create_task(place.close())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not service.closed
        if not patient:
            closing.cancel()
            await asyncio.wait({closing})
            assert service.closed
    await asyncio.wait({closing})
    assert service.closed


async def test_threads_that_are_closed_take_nothing_more() -> None:
    threads, begun, go = Threads(1, "test"), threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go.wait()
        return 1

    first = asyncio.ensure_future(threads.run(work))
    await asyncio.to_thread(begun.wait)
    second = asyncio.ensure_future(threads.run(lambda: 2))
    await asyncio.sleep(0)
    threads.refuse()
    closing = asyncio.ensure_future(asyncio.to_thread(threads.close))
    with pytest.raises(Unavailable, match="the index is closing"):
        await second
    with pytest.raises(Unavailable, match="the index is closing"):
        await threads.run(lambda: 3)
    go.set()
    assert await first == 1
    await closing
