"""Protects the reading of documents: each kind gives its text, and none can hang or kill more than its reader."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import made_documents as made
import msgspec
import pytest

from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.hooks.reading import SLIDES
from mosaicfs_fulltext.extraction.extractor import Extractor
from mosaicfs_fulltext.extraction.kinds import Kind, kind_of
from mosaicfs_fulltext.extraction.messages import Caps, Extracted, Wish
from mosaicfs_fulltext.extraction.pool import Closed, Pool
from mosaicfs_fulltext.settings import Settings

HTML = (
    "<html><head><title>Straßen</title><style>p {color: red}</style><script>var hidden = 1</script></head>"
    "<body><h1>Überschrift</h1><p>Grüße aus Köln</p></body></html>"
)
ENDINGS = """
    pdf docx docm dotx doc xlsx xlsm xls pptx ppsx ppt odt ods odp odg rtf html xhtml eml msg epub fb2 ipynb
"""
DOCUMENTS = {
    "paper.pdf": (made.pdf(["First page about turbines", "Second page about rotors"]), ["turbines", "rotors"]),
    "letter.docx": (made.docx("Dear Grace,", "the compiler works."), ["Dear Grace", "compiler"]),
    "table.xlsx": (made.xlsx("Revenue", "Expenses"), ["Revenue", "Expenses"]),
    "talk.pptx": (made.pptx("Opening slide", "Closing slide"), ["Opening", "Closing"]),
    "letter.odt": (made.opendocument("text", "Ein Brief"), ["Ein Brief"]),
    "table.ods": (made.opendocument("spreadsheet", "Einnahmen"), ["Einnahmen"]),
    "talk.odp": (made.opendocument("presentation", "Vortrag"), ["Vortrag"]),
    "book.epub": (made.epub("A Novel", "It was a dark night", "The end"), ["dark night", "The end"]),
    "latin.html": (HTML.encode("iso-8859-1"), ["Überschrift", "Grüße aus Köln"]),
    "mail.eml": (made.mail("Quarterly figures", "Größere Beträge", "iso-8859-1"), ["Quarterly figures", "Größere"]),
    "old.rtf": (rb"{\rtf1\ansi Typed in {\b 1994}}", ["Typed in", "1994"]),
}


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    found = Extractor(Settings(extractors=1, max_file_mb=4, max_pages=3, max_text_kb=16))
    yield found
    found.close()


def read(extractor: Extractor, path: Path, content: bytes) -> Extracted:
    path.write_bytes(content)
    kind = kind_of(path.name, None)
    assert kind.way == "document"
    return extractor.read_document(path, kind)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_gives_its_text(extractor: Extractor, tmp_path: Path, name: str) -> None:
    content, expected = DOCUMENTS[name]
    found = read(extractor, tmp_path / name, content)
    assert found.problem is None
    for words in expected:
        assert words in found.text
    assert "hidden" not in found.text


def test_titles_are_told(extractor: Extractor, tmp_path: Path) -> None:
    assert read(extractor, tmp_path / "a.pdf", made.pdf(["text"], title="On Turbines")).title == "On Turbines"
    assert read(extractor, tmp_path / "b.epub", made.epub("A  Novel", "text")).title == "A Novel"
    assert read(extractor, tmp_path / "c.html", HTML.encode()).title == "Straßen"


def test_pages_and_characters_beyond_the_caps_are_left_out(extractor: Extractor, tmp_path: Path) -> None:
    found = read(extractor, tmp_path / "a.pdf", made.pdf([f"page{number}" for number in range(6)]))
    assert [f"page{number}" in found.text for number in range(6)] == [True, True, True, False, False, False]
    long = read(extractor, tmp_path / "b.docx", made.docx("word " * 10_000))
    assert 16_000 < len(long.text) <= 16 * 1024


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("locked.pdf", made.pdf(["secret"], password="open sesame"), "(?i)password|encrypt"),
        ("cut.pdf", made.pdf(["text"])[:200], "(?i)pdf"),
        ("noise.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 40, "(?i)pdf"),
        ("noise.docx", b"PK\x03\x04" + bytes(range(256)) * 40, "."),
        ("noise.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "."),
        ("bomb.docx", made.bomb(60_000_000), "unpacks to"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(
    extractor: Extractor, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    found = read(extractor, tmp_path / name, content)
    assert found.text == ""
    assert found.problem is not None
    assert re.search(reason, found.problem)
    assert len(found.problem) <= 300


def test_a_bomb_that_lies_about_its_size_hurts_only_its_reader(extractor: Extractor, tmp_path: Path) -> None:
    bomb = bytearray(made.bomb(20_000_000))
    at = bomb.rindex(b"PK\x01\x02", 0, bomb.rindex(b"word/document.xml"))
    bomb[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    assert read(extractor, tmp_path / "liar.docx", bytes(bomb)).text.count("a" * 20_000) == 0
    assert read(extractor, tmp_path / "next.docx", made.docx("still here")).text == "still here"


@pytest.fixture
def pool() -> Iterator[Pool]:
    """One reader, warm, with little time for each document."""
    found = Pool(1, 512, 0.2)
    yield found
    found.close()


def wish(path: Path, mime_type: str = "text/html") -> Wish:
    return Wish(path=os.fsencode(path), mime_type=mime_type, caps=Caps(characters=1000, pages=10, unpacked=10_000_000))


def test_a_reader_that_a_large_process_started_is_not_taken_for_a_large_one(pool: Pool, tmp_path: Path) -> None:
    """Each document would get a process of its own."""
    page = tmp_path / "page.html"
    page.write_text("<p>quick</p>")
    ballast = b"x" * (300 << 20)
    assert pool.read(wish(page)).resident_kb < len(ballast) // 1024


def test_a_document_that_hangs_is_given_up_and_the_next_is_read(pool: Pool, tmp_path: Path) -> None:
    page, hanging = tmp_path / "page.html", tmp_path / "hanging.html"
    page.write_text("<p>quick</p>")
    os.mkfifo(hanging)
    assert pool.read(wish(page)).text == "quick"
    assert pool.read(wish(hanging)).problem == "reading it took longer than 0.2 s"
    assert pool.killed == 1
    assert pool.read(wish(page)).text == "quick"


def test_closing_ends_a_reader_at_work_and_those_who_wait(tmp_path: Path) -> None:
    pool = Pool(1, 512, 60)
    hanging = tmp_path / "hanging.html"
    os.mkfifo(hanging)
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(pool.read(wish(hanging)).problem)
        except Closed:
            answers.append("closed")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    writer = os.open(hanging, os.O_WRONLY)  # returns once the reader has opened the other end
    pool.close()
    os.close(writer)
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == ["closed", "the program that read it broke down, or ran out of memory"]


async def test_documents_of_all_kinds_are_found_through_events(start: Any) -> None:
    async with start() as instance:
        for name, (content, _) in DOCUMENTS.items():
            await instance.add(name, content)
        await instance.add("locked.pdf", made.pdf(["secret"], password="open sesame"))
        await instance.settled()
        for query, name in (("turbine", "paper.pdf"), ("compilers", "letter.docx"), ("Köln", "latin.html")):
            assert await instance.names(query) == [name]
        assert await instance.names("secret") == []
        data = (await instance.widget())["data"]
        assert (data["with_text"], data["failures"]) == (len(DOCUMENTS), 1)


async def test_a_file_postponed_for_want_of_a_reader_is_read_later(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, read = threading.Event(), Extractor.read_document

    def slow(extractor: Extractor, path: Path, kind: Kind) -> Extracted:
        assert gate.wait(20)
        return read(extractor, path, kind)

    monkeypatch.setattr("mosaicfs_fulltext.service.PATIENCE_S", 0.05)
    monkeypatch.setattr(Extractor, "read_document", slow)
    async with asyncio.timeout(30), start({"extractors": 1}) as instance:
        first = asyncio.ensure_future(instance.add("first.pdf", made.pdf(["impatience"])))
        while not first.done() and not (await instance.widget())["data"]["postponed"]:
            await instance.add("second.pdf", made.pdf(["patience"]))
            await instance.settled()
        gate.set()
        await first
        while not await instance.names("patience"):
            await instance.settled()
        assert (await instance.widget())["data"]["postponed"] == 0


async def test_a_file_of_another_machine_is_copied_for_reading_and_the_copy_removed(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = made.docx("from far away")

    async def distant(_file: FileRecord, _offset: int = 0, _length: int | None = None) -> AsyncIterator[bytes]:
        yield content[:100]
        yield content[100:]

    async with start({"max_file_mb": 1}) as instance:
        monkeypatch.setattr(instance.context, "open_file", distant)
        here = instance.record(instance.folder / "far.docx", size=len(content))
        for name, size in (("far.docx", len(content)), ("huge.docx", 2 << 20)):
            facts = {"node_id": "node-other", "file_id": f"node-other/{name}", "name": name, "size": size}
            await instance.tell("file.added", msgspec.structs.replace(here, **facts), local_path=None)
        await instance.settled()
        assert await instance.names("away") == ["far.docx"]
        assert (await instance.widget())["data"]["failures"] == 1
        assert list((instance.context.state_dir / "reading").iterdir()) == []


@pytest.mark.parametrize("mime_type", sorted({kind_of(f"a.{one}", None).mime_type for one in ENDINGS.split()}))
def test_the_library_knows_each_type_that_it_is_given(mime_type: str) -> None:
    import kreuzberg

    if mime_type not in SLIDES:
        assert kreuzberg.validate_mime_type(mime_type)
