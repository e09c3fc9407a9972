"""Protects what a search finds: stems, phrases, beginnings, slips of the pen, logic; that no query is an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaicfs_core.hooks import FileRecord
from mosaicfs_fulltext.entries import entry_of, pack
from mosaicfs_fulltext.index.embedded import EmbeddedIndex
from mosaicfs_fulltext.index.engine import Engine, open_index
from mosaicfs_fulltext.language import detect_language
from mosaicfs_fulltext.query.ask import ask

TEXTS = {
    "en.txt": "The engineers were running all of the connections that had been made for the old houses in the town.",
    "de.txt": "Die Häuser in der Stadt sind alt und die Rechnungen wurden nicht von den Eigentümern bezahlt.",
    "fr.txt": "Les chevaux sont dans la prairie et les maisons de la ville ne sont pas pour les enfants du village.",
    "ru.txt": "Это не то, что я хотел сказать, но книги были на столе и мы читали их все вечера.",
    "ja.txt": "東京都は日本の首都であり、世界最大の都市の一つです。",
    "code.py": "def parse_invoice(path):\n    invoices = load(path)\n    return invoices[0].total",
    "Quarterly Report.odt": "Turnover grew. The turnover of the third quarter is what it was for us at the merger.",
    "café.md": "Crème brûlée and naïve résumés",
}


@pytest_asyncio.fixture
async def index(tmp_path: Path) -> AsyncIterator[EmbeddedIndex]:
    found = await EmbeddedIndex.open(tmp_path)
    for name, text in TEXTS.items():
        file = FileRecord(
            file_id=name, node_id="n", export_path=f"/home/Papers/{name}", name=name, size=1, mtime=1, inode=1
        )
        title = "Annual figures" if name.endswith(".odt") else ""
        entry = entry_of(file, "text", title=title, language=detect_language(text), packed=pack(text))
        await found.apply(entry, text)
    await found.flush()
    yield found
    await found.close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("engineer", {"en.txt"}),
        ("run connection", {"en.txt"}),
        ("haus", {"de.txt"}),
        ("Haeuser OR häusern", {"de.txt"}),
        ("Rechnung", {"de.txt"}),
        ("cheval OR chevaux", {"fr.txt"}),
        ("книга", {"ru.txt"}),
        ("首都", {"ja.txt"}),
        ("都首", set()),
        ("invoice", {"code.py"}),
        ("parse_invoice", {"code.py"}),
        ("cafe", {"café.md"}),
        ("creme brulee", {"café.md"}),
        ('"third quarter"', {"Quarterly Report.odt"}),
        ('"quarter third"', set()),
        ('"turnover third"~3', {"Quarterly Report.odt"}),
        ('"third quar*"', {"Quarterly Report.odt"}),
        ("connec*", {"en.txt"}),
        ("connections*", {"en.txt"}),
        ("engeneer~", {"en.txt"}),
        ("engeneer", set()),
        ("houses -engineers", set()),
        ("turnover NOT engineers", {"Quarterly Report.odt"}),
        ("engineers OR turnover", {"en.txt", "Quarterly Report.odt"}),
        ("(engineers OR turnover) merger", {"Quarterly Report.odt"}),
        ("name:report", {"Quarterly Report.odt"}),
        ("name:turnover", set()),
        ("title:annual", {"Quarterly Report.odt"}),
        ("annual", {"Quarterly Report.odt"}),
        ("path:papers type:py", {"code.py"}),
        ("language:de", {"de.txt"}),
        ("-path:papers", set()),
        ("engineers AND", {"en.txt"}),
        ("(engineers", {"en.txt"}),
        ("engineers)", {"en.txt"}),
        ('"engineers were', {"en.txt"}),
        ("unknown:engineers", set()),
        ("engineers ~ * !", {"en.txt"}),
        ("", set()),
        ("  ?!  ", set()),
    ],
)
async def test_a_query_finds(index: EmbeddedIndex, query: str, expected: set[str]) -> None:
    assert {result.file_id for result in await index.search(query, 20, 5)} == expected


async def test_it_ends_also_when_it_has_just_been_told_something(tmp_path: Path) -> None:
    index = await EmbeddedIndex.open(tmp_path / "index")
    index.expect_many(True)
    async with asyncio.timeout(10):
        await index.close()


async def test_names_count_more_than_texts_and_limits_hold(index: EmbeddedIndex) -> None:
    assert [result.file_id for result in await index.search("town OR report", 1, 5)] == ["Quarterly Report.odt"]
    assert await index.search("town", 0, 5) == []
    assert await index.search("town", -3, 5) == []


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ("run", {"running"}),
        ("connec* old", {"connections", "old"}),
        ("engeneer~", {"engineers"}),
        ('"old houses"', {"old", "houses"}),
        ("haus", {"Häuser"}),
        ("creme", {"Crème"}),
        ("invoice", {"invoice", "invoices"}),
        ("首都", {"首都"}),
        ("engineers -turnover", {"engineers"}),
        ("name:en", set()),
    ],
)
async def test_what_was_found_is_marked(index: EmbeddedIndex, query: str, marked: set[str]) -> None:
    found = (await index.search(query, 5, 5))[0]
    words = {piece.text[begin:end] for piece in found.fragments for begin, end in piece.highlights}
    assert words == marked
    assert all(len(piece.text) <= 300 and "\n" not in piece.text for piece in found.fragments)


async def test_no_time_means_no_fragments(index: EmbeddedIndex) -> None:
    (found,) = await index.search("engineers", 5, 0)
    assert found.fragments == ()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    engine = open_index(tmp_path_factory.mktemp("index"))
    for name, text in TEXTS.items():
        file = FileRecord(file_id=name, node_id="n", export_path=name, name=name, size=1, mtime=1, inode=1)
        engine.apply(entry_of(file, "text", language=detect_language(text), packed=pack(text)), text)
    engine.commit()
    yield engine
    engine.close()


SIGNS = ['"', "(", ")", "-", "+", "~", "~2", "*", "OR", "AND", "NOT", "|", ":", "name:", "type:", "\\", "^9", "\0"]
WORDS = st.sampled_from([*SIGNS, "house", "東"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=60), st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=20).map(" ".join)))
def test_no_query_is_an_error(engine: Engine, query: str) -> None:
    ask(engine, query, 10, float("inf"))


@pytest.mark.parametrize(
    "query",
    ["(" * 5000, "a* " * 2000, "x" * 100_000, "-" * 3000 + "a", '"' * 999, "a OR " * 900, "\ud800 house", "😀~2 *a b*"],
)
def test_no_great_query_is_an_error(engine: Engine, query: str) -> None:
    ask(engine, query, 10, float("inf"))


async def test_an_object_may_ask_as_well(start: Any) -> None:
    async with start() as instance:
        await instance.add("a.txt", "objects of desire")
        await instance.settled()
        for query in ({"text": "desire"}, {"query": "desire"}, {"q": "desire"}):
            assert await instance.names(query) == ["a.txt"]
        for query in ({}, {"text": 7}, {"text": None}):
            assert await instance.names(query) == []
