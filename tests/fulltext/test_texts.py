"""Protects the texts that snippets are made of: they take little room, and are the same again after any stop."""

from __future__ import annotations

import asyncio
import random
import zlib
from pathlib import Path

import pytest

from mosaicfs_core.hooks import FileRecord
from mosaicfs_fulltext.entries import Entry, entry_of, pack, unpack
from mosaicfs_fulltext.index import texts
from mosaicfs_fulltext.index.embedded import EmbeddedIndex
from mosaicfs_fulltext.index.engine import Damaged, Engine, open_index
from mosaicfs_fulltext.index.texts import DICTIONARY, Texts, Unreadable
from mosaicfs_fulltext.query.build import ids_query, status_query

SOURCE = random.Random(1)
WORDS = ["".join(SOURCE.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(500)]
NOTES = [" ".join(SOURCE.choices(WORDS, k=30)) for _ in range(400)]
"""Short, of the same words, and hardly to be compressed one by one."""


@pytest.fixture(autouse=True)
def learn_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_LEARN_FROM", 40_000)
    monkeypatch.setattr(texts, "_SIZE", 8_000)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    Texts.prepare(tmp_path)
    return tmp_path


def test_short_texts_take_less_room_once_their_words_are_known(kept: Path) -> None:
    store = Texts(kept)
    packed = [store.pack(note) for note in NOTES]
    assert sum(map(len, packed[-100:])) < 0.7 * sum(map(len, packed[:100]))
    assert [store.unpack(one) for one in packed] == NOTES


def test_texts_of_before_are_read_after_a_restart(kept: Path) -> None:
    first = Texts(kept)
    packed = [first.pack(note) for note in NOTES]
    second = Texts(kept)
    assert [second.unpack(one) for one in packed] == NOTES
    assert second.pack(NOTES[0]) == first.pack(NOTES[0])


def test_texts_of_which_nothing_is_to_be_learnt_are_kept_all_the_same(kept: Path) -> None:
    store = Texts(kept)
    packed = [store.pack("x") for _ in range(50_000)]
    assert {store.unpack(one) for one in packed} == {"x"}
    assert {store.unpack(store.pack(note)) for note in NOTES} == set(NOTES)


def test_a_dictionary_that_was_being_written_when_all_stopped_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / DICTIONARY).write_bytes(b"")  # before there was an index
    engine = open_index(tmp_path)
    engine.close()
    (tmp_path / f"{DICTIONARY}.new").write_bytes(b"half of")
    engine = open_index(tmp_path)
    assert engine.count() == 0
    engine.close()


@pytest.mark.parametrize("run", [1, 5])
def test_an_index_that_grows_in_many_short_runs_learns_as_well(tmp_path: Path, run: int) -> None:
    """From what is kept of the runs before: else one that fills slowly would never have a dictionary."""
    step = len(NOTES) // run
    for start in range(0, len(NOTES), step):
        engine = open_index(tmp_path)
        engine.learn_from(status_query("text"))
        for number in range(start, start + step):
            put(engine, str(number), NOTES[number])
        engine.commit()
        engine.close()
    assert len((tmp_path / DICTIONARY).read_bytes()) > 1_000


async def test_what_a_start_finds_kept_is_learnt_from(tmp_path: Path) -> None:
    for start in range(0, len(NOTES), 100):  # too few to learn from by themselves
        index = await EmbeddedIndex.open(tmp_path)
        await asyncio.gather(*(index.apply(entry(note, note)) for note in NOTES[start : start + 100]))
        await index.flush()
        await index.close()
    assert len((tmp_path / "index" / DICTIONARY).read_bytes()) > 1_000


def test_what_is_learnt_already_is_left_alone(tmp_path: Path) -> None:
    engine = open_index(tmp_path)
    for number, note in enumerate(NOTES):
        put(engine, str(number), note)
    engine.commit()
    learnt = (tmp_path / DICTIONARY).read_bytes()
    engine.learn_from(status_query("text"))
    assert (tmp_path / DICTIONARY).read_bytes() == learnt
    engine.close()


@pytest.mark.parametrize("where", [0, 3, 4, 1_000, -1])
def test_a_learnt_dictionary_with_another_bit_is_damage(kept: Path, where: int) -> None:
    """Most of it is bytes that any other could stand for: only the checksum tells."""
    store = Texts(kept)
    for note in NOTES:
        store.pack(note)
    data = bytearray((kept / DICTIONARY).read_bytes())
    data[where] ^= 1
    (kept / DICTIONARY).write_bytes(data)
    with pytest.raises(Unreadable, match="not as it was written"):
        Texts(kept)


def test_a_learnt_dictionary_that_is_cut_is_damage(kept: Path) -> None:
    store = Texts(kept)
    for note in NOTES:
        store.pack(note)
    whole = (kept / DICTIONARY).read_bytes()
    for length in (0, 3, 4, 5, len(whole) // 2, len(whole) - 1):
        (kept / DICTIONARY).write_bytes(whole[:length])
        with pytest.raises(Unreadable, match="not as it was written"):
            Texts(kept)


def test_a_text_that_does_not_fit_the_dictionary_is_damage(tmp_path: Path) -> None:
    engine = open_index(tmp_path)
    for number, note in enumerate(NOTES):
        put(engine, str(number), note)
    engine.commit()
    (found,) = engine.search(ids_query([str(len(NOTES) - 1)]), 1)
    assert engine.text(found) == NOTES[-1]
    engine.close()
    Texts.prepare(tmp_path)  # whole, but of another index
    engine = open_index(tmp_path)
    with pytest.raises(Damaged, match="a text cannot be unpacked"):
        engine.text(found)
    engine.close()


def test_a_journal_of_before_is_still_read() -> None:
    assert unpack(pack("wörds")) == "wörds"
    assert unpack(zlib.compress("wörds".encode(), 4)) == "wörds"
    assert unpack(pack("")) == ""


def entry(name: str, text: str) -> Entry:
    file = FileRecord(file_id=name, node_id="n", export_path=f"/{name}", name=name, size=1, mtime=1, inode=1)
    return entry_of(file, "text", language="en", packed=pack(text))


def put(engine: Engine, name: str, text: str) -> None:
    engine.apply(entry(name, text))
