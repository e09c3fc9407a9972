"""Protects an index that is damaged, gone, or cannot be written: it is found out at once, and filled again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import FileRecord
from mosaicfs_fulltext import marks
from mosaicfs_fulltext.entries import entry_of, pack
from mosaicfs_fulltext.index.embedded import EmbeddedIndex
from mosaicfs_fulltext.index.engine import Damaged, open_index
from mosaicfs_fulltext.index.journal import Journal


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
    "all of it is gone": shutil.rmtree,
}


@pytest.mark.logs("the index is made anew")
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_index_is_made_anew_and_filled_from_the_files(start: Any, damage: str) -> None:
    async with start() as instance:
        for number in range(5):
            file = await instance.known(f"{number}.txt", f"word{number} shared")
            await instance.tell("file.added", file)
        await instance.settled()
        directory = instance.context.state_dir
    DAMAGES[damage](directory / "index")
    async with start() as instance:
        await instance.refilled()
        assert len(await instance.names("shared")) == 5
        assert len(await instance.names("word3")) == 1
        assert (await instance.health()).status == "healthy"


async def test_an_index_that_is_whole_is_kept(start: Any) -> None:
    async with start() as instance:
        await instance.add("only-told.txt", "not in the store")
        await instance.settled()
    async with start() as instance:
        assert await instance.names("store") == ["only-told.txt"]


@pytest.mark.logs("the index is made anew")
async def test_filling_keeps_to_what_the_instance_is_told_of(start: Any) -> None:
    async with start() as instance:
        await instance.known("a.txt", "shared", mime_type="text/plain")
        await instance.known("b.html", "shared", mime_type="text/html")
        await instance.known("secret.txt", "shared", mime_type="text/plain")
        document = await instance.harness.store.get(ids.plugin_document_id(instance.context.node_id, "fulltext"))
        step = {"op": "glob", "pattern": "a*", "on_match": "include"}
        await instance.harness.store.put({**document, "mime_globs": ["text/plain"], "steps": [step]})
        await instance.settled()
        directory = instance.context.state_dir
    (directory / "index" / "meta.json").unlink()
    async with start() as instance:
        document = await instance.harness.store.get(ids.plugin_document_id(instance.context.node_id, "fulltext"))
        await instance.refilled()
        assert (await instance.widget())["data"]["documents"] == 1


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
        await instance.refilled()
        assert len(await instance.names("interrupted")) == 1
        assert (await instance.health()).resolved == ("index_refilling",)


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
