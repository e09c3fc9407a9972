"""Protects an index that is damaged, gone, or cannot be written: it is found out at once, and filled again."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import FileQuery, FileRecord
from mosaicfs_core.jobs import Subscription
from mosaicfs_core.jobs.matching import Matcher
from mosaicfs_core.rules import FileFacts, NoLookup
from mosaicfs_fulltext import marks
from mosaicfs_fulltext.entries import entry_of, pack
from mosaicfs_fulltext.extraction.extractor import Extractor
from mosaicfs_fulltext.index import embedded
from mosaicfs_fulltext.index.embedded import EmbeddedIndex
from mosaicfs_fulltext.index.engine import Damaged, open_index
from mosaicfs_fulltext.index.journal import Journal
from mosaicfs_fulltext.index.texts import DICTIONARY
from mosaicfs_fulltext.index.verify import damage


def segment(index: Path, part: str) -> Path:
    return max(index.glob(f"*.{part}"), key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a byte of the terms is another": lambda index: flip(segment(index, "term")),
    "a byte of the texts is another": lambda index: flip(segment(index, "store")),
    "the postings are cut": lambda index: cut(segment(index, "idx")),
    "the positions are gone": lambda index: segment(index, "pos").unlink(),
    "the list of segments is cut": lambda index: cut(index / "meta.json"),
    "the list of segments is gone": lambda index: (index / "meta.json").unlink(),
    "the list of segments is nonsense": lambda index: (index / "meta.json").write_text('{"segments": 7}') and None,
    "the dictionary of the texts is gone": lambda index: (index / DICTIONARY).unlink(),
    "the dictionary of the texts is cut": lambda index: cut(index / DICTIONARY),
    "all of it is gone": shutil.rmtree,
}


@pytest.mark.logs("the index is made anew")
@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_damaged_index_is_made_anew_and_filled_from_the_files(start: Any, kind: str) -> None:
    async with start() as instance:
        for number in range(5):
            file = await instance.known(f"{number}.txt", f"word{number} shared")
            await instance.tell("file.added", file)
        await instance.settled()
        directory = instance.context.state_dir
    DAMAGES[kind](directory / "index")
    async with start() as instance:
        await instance.refilled()
        assert len(await instance.names("shared")) == 5
        assert len(await instance.names("word3")) == 1
        assert (await instance.health()).status == "healthy"


@pytest.mark.parametrize(
    ("where", "step"), [(embedded, "_open"), (embedded, "_take_over"), (marks, "note_format"), (marks, "note_backend")]
)
async def test_an_instance_that_is_switched_off_while_its_index_opens_lets_go_of_it(
    start: Any, monkeypatch: pytest.MonkeyPatch, where: Any, step: str
) -> None:
    """Otherwise nobody could write it any more, and its threads would go on."""
    reached, go_on = threading.Event(), threading.Event()
    real = getattr(where, step)

    def slow(*arguments: Any) -> Any:
        done = real(*arguments)
        reached.set()
        assert go_on.wait(20)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(where, step, slow)
        async with start(switched_on=False) as instance:
            async with instance.running():
                assert await asyncio.to_thread(reached.wait, 20)
                threading.Timer(0.05, go_on.set).start()  # once it is being cancelled
            assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("fulltext-")]
            async with instance.running():
                await instance.add("a.txt", "there")
                await instance.settled()
                assert await instance.names("there") == ["a.txt"]


async def test_an_index_that_is_whole_is_kept(start: Any) -> None:
    async with start() as instance:
        await instance.add("only-told.txt", "not in the store")
        await instance.settled()
    async with start() as instance:
        assert await instance.names("store") == ["only-told.txt"]


NARROWED: dict[str, dict[str, Any]] = {
    "types and what a step includes": {
        "mime_globs": ["text/{plain,csv}"],
        "steps": [{"op": "glob", "pattern": "a*", "on_match": "include"}],
    },
    "what a step excludes": {"steps": [{"op": "glob", "pattern": "*.html", "on_match": "exclude"}]},
    "what the budget's steps exclude": {
        "budget": {"steps": [{"op": "glob", "pattern": "a*", "on_match": "exclude"}]},
        "mime_globs": ["TEXT/*"],
    },
    "nothing": {},
}


def subscription(document: dict[str, Any]) -> Subscription:
    return Subscription(
        events=("file.added",),
        mime_globs=tuple(document.get("mime_globs", ())),
        steps=tuple(document.get("steps", ())),
        budget_steps=tuple(document.get("budget", {}).get("steps", ())),
    )


def facts_of(file: FileRecord) -> FileFacts:
    names = ("node_id", "export_path", "name", "size", "mtime", "mime_type")
    return FileFacts(**{name: getattr(file, name) for name in names})


@pytest.mark.logs("the index is made anew")
@pytest.mark.parametrize("narrowed", NARROWED)
async def test_filling_takes_the_files_that_the_queue_would_tell(start: Any, narrowed: str) -> None:
    async with start() as instance:
        for name, kind in (("a.txt", "text/plain"), ("b.html", "text/html"), ("secret.txt", "text/plain")):
            await instance.known(name, "shared", mime_type=kind)
        node_id = instance.context.node_id
        document = await instance.harness.store.get(ids.plugin_document_id(node_id, "fulltext"))
        await instance.harness.store.put({**document, **NARROWED[narrowed]})
        await instance.settled()
        directory = instance.context.state_dir
        matcher = Matcher(subscription(NARROWED[narrowed]), node_id, instance.harness.host.step_ops())
        files = (await instance.context.find_files(FileQuery(limit=10))).items
        passing = matcher.among([(number, facts_of(file)) for number, file in enumerate(files)], NoLookup(), 0)
        told = {files[number].file_id for number in passing}
    (directory / "index" / "meta.json").unlink()
    async with start() as instance:
        await instance.refilled()
        assert {hit.file_id for hit in (await instance.envelope("shared")).results} == told
        assert told


@pytest.mark.logs("the index is made anew")
async def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_text(self: Extractor, path: Path, kind: Any) -> Any:
        if path.name == "05.txt":
            raise OSError(errno.EIO, "Input/output error")
        return read(self, path, kind)

    read = Extractor.read_text
    async with start() as instance:
        for number in range(12):
            await instance.known(f"{number:02}.txt", "shared")
        directory = instance.context.state_dir
    shutil.rmtree(directory / "index")
    with monkeypatch.context() as patched:
        patched.setattr(Extractor, "read_text", read_text)
        async with start() as instance:
            await instance.refilled()
            assert len(await instance.names("shared")) == 11
            assert (await instance.widget())["data"]["postponed"] == 1
    async with start() as instance:
        async with asyncio.timeout(20):
            while (await instance.widget())["data"]["postponed"]:
                await instance.settled()
        assert len(await instance.names("shared")) == 12


async def test_a_large_index_is_used_while_it_is_compared(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as instance:
        await instance.add("old.txt", "shared before")
        await instance.settled()
    compared = threading.Event()

    def slow(directory: Path, given_up: Callable[[], bool]) -> str | None:
        compared.wait(20)
        return damage(directory, given_up)

    monkeypatch.setattr(embedded, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(embedded, "damage", slow)
    async with start() as instance:
        assert await instance.names("shared") == ["old.txt"]
        await instance.add("new.txt", "shared meanwhile")
        assert await instance.names("shared") == ["old.txt"]
        compared.set()
        await instance.settled()
        assert sorted(await instance.names("shared")) == ["new.txt", "old.txt"]


@pytest.mark.logs("the index is made anew", "the index cannot be used")
async def test_damage_that_is_found_late_has_the_index_made_anew(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as instance:
        await instance.known("old.txt", "shared before")
        await instance.settled()
        directory = instance.context.state_dir
    compared = threading.Event()

    def slow(directory: Path, given_up: Callable[[], bool]) -> str | None:
        return "it is damaged" if compared.wait(20) else None

    with monkeypatch.context() as patched:
        patched.setattr(embedded, "_PATIENCE_S", 0.0)
        patched.setattr(embedded, "damage", slow)
        async with start() as instance:
            await instance.add("new.txt", "shared meanwhile")
            compared.set()
            async with asyncio.timeout(20):
                while marks.damage_noted(directory) is None:
                    await asyncio.to_thread(lambda: None)
    async with start() as instance:
        await instance.refilled()
        assert len(await instance.names("shared")) == 2
        assert marks.damage_noted(directory) is None


@pytest.mark.logs("the index is made anew")
async def test_filling_goes_on_after_it_was_interrupted_and_says_so_meanwhile(start: Any) -> None:
    async with start() as instance:
        await instance.known("a.txt", "interrupted work")
        await instance.settled()
        directory = instance.context.state_dir
    marks.want_refill(directory, "a test says so")
    async with start() as instance:
        report, answer = await instance.health(), await instance.envelope("work")
        if marks.refill_reason(directory) is not None:
            assert report.status == "degraded"
            assert [notice.key for notice in report.notices] == ["index_refilling"]
            assert "a test says so" in answer.description
            assert answer.syncing
        await instance.refilled()
        assert len(await instance.names("interrupted")) == 1
        assert (await instance.health()).resolved == ("index_refilling", "index_unavailable")


@pytest.mark.logs("the index is made anew")
async def test_a_search_says_that_it_is_not_everything_until_the_index_has_everything_again(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as instance:
        for name in ("a.txt", "b.txt"):
            await instance.tell("file.added", await instance.known(name, "pangolin"))
        await instance.settled()
        directory = instance.context.state_dir
    flip(segment(directory / "index", "term"))
    read, go_on = Extractor.read_text, threading.Event()

    def slow(self: Extractor, path: Path, kind: Any) -> Any:
        assert go_on.wait(20)
        return read(self, path, kind)

    monkeypatch.setattr(Extractor, "read_text", slow)
    async with start() as instance:
        answer = await instance.envelope("pangolin")
        assert (answer.results, answer.syncing) == ((), True)
        go_on.set()
        await instance.refilled()
        answer = await instance.envelope("pangolin")
        assert (len(answer.results), answer.syncing) == (2, False)


def entry(name: str, text: str) -> Any:
    file = FileRecord(file_id=name, node_id="n", export_path=f"/{name}", name=name, size=1, mtime=1, inode=1)
    return entry_of(file, "text", language="en", packed=pack(text))


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    first = open_index(tmp_path)
    with pytest.raises(Exception, match="another process writes"):
        open_index(tmp_path)
    first.close()


def test_files_without_a_list_of_segments_are_no_new_index(tmp_path: Path) -> None:
    (tmp_path / "left.idx").touch()
    with pytest.raises(Damaged, match=r"^meta\.json is gone$"):
        open_index(tmp_path)


def test_a_journal_ends_where_a_crash_cut_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([entry("a", "one"), entry("b", "two")])
    journal.append([entry("c", "three")])
    journal.close()
    (file,) = tmp_path.glob("*.log")
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        names = [change.file_id for change in Journal(tmp_path).replay()]
        assert names == ["a", "b", "c"][: len(names)]
        assert len(names) < 3
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert [change.file_id for change in Journal(tmp_path).replay()] == ["a", "b"]


async def test_a_full_disk_refuses_events_and_they_can_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await EmbeddedIndex.open(tmp_path)
    sync = os.fdatasync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(Exception, match="No space left on device"):
        await index.apply(entry("a", "one"))
    monkeypatch.setattr(os, "fdatasync", sync)
    await index.apply(entry("a", "one again"))
    await index.flush()
    assert [result.file_id for result in await index.search("again", 5, 5)] == ["a"]
    await index.close()


@pytest.mark.logs("the index cannot be used")
async def test_an_index_that_breaks_while_it_is_used_is_opened_again(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as instance:
        await instance.add("a.txt", "before the fall")
        with monkeypatch.context() as patch:
            patch.setattr("mosaicfs_fulltext.index.engine.Engine.commit", _break)
            with pytest.raises(PluginError, match="the index cannot be used"):
                await instance.settled()
        await instance.settled()
        assert await instance.names("fall") == ["a.txt"]


def _break(engine: object) -> None:
    raise Damaged("tantivy gave up: for a test")
