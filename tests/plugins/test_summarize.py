"""Protects summaries made on the machine itself: of every kind of document, of none that cannot be read, and never
beyond the limits."""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from pdfs import SENTENCES
from summarizing import Files

from mosaicfs_core.hooks import MosaicError, NotFound, UserError
from mosaicfs_plugins.summarize.reading import child, processes
from mosaicfs_plugins.summarize.settings import SCHEMA, Settings, read_settings

GERMAN = SENTENCES["de"]
OFFICE = "application/vnd.openxmlformats-officedocument."
OPEN = "application/vnd.oasis.opendocument."
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
ODF = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'
)


@pytest.fixture(params=["new process", "copy"])
def files(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A folder whose documents are read in either way."""
    monkeypatch.setattr(processes, "_may_copy", lambda: request.param == "copy")
    return Files(tmp_path)


def pdf(text: str = GERMAN, *, pages: int = 1, title: str = "", password: str = "") -> bytes:
    """A PDF with a text on each page."""
    paper = FPDF()
    if title:
        paper.set_title(title)
    if password:
        paper.set_encryption(owner_password="owner", user_password=password)
    for _ in range(pages):
        paper.add_page()
        paper.set_font("helvetica", size=11)
        paper.multi_cell(0, 6, text)
    return bytes(paper.output())


def zipped(path: Path, parts: Mapping[str, str]) -> None:
    """A zip file of these texts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)


async def test_a_document_gets_its_annotation(files: Files) -> None:
    files.write("orgel.pdf", pdf(pages=3, title="Die Orgel"))
    found = await files.summarize("orgel.pdf", "application/pdf", max_sentences=2)
    assert found is not None
    assert {"title", "summary", "language", "keywords", "page_count", "model"} == set(found)
    assert (found["title"], found["language"], found["page_count"]) == ("Die Orgel", "de", 3)
    assert found["model"] == "lexrank"
    sentences = [f"{part.removesuffix('.')}." for part in GERMAN.split(". ")]
    assert sum(sentence in found["summary"] for sentence in sentences) == 2
    assert found["keywords"][0] in ("orgel", "werkstatt", "pfeifen")
    assert await files.summarize("orgel.pdf", "application/pdf", max_sentences=2) == found


def docx(path: Path) -> None:
    part = f"{OFFICE}wordprocessingml.document.main+xml"
    types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        f'<Override PartName="/word/document.xml" ContentType="{part}"/></Types>'
    )
    body = f"<w:document {W}><w:body><w:p><w:r><w:t>{GERMAN}</w:t></w:r></w:p></w:body></w:document>"
    zipped(path, {"[Content_Types].xml": types, "word/document.xml": body})


def odt(path: Path) -> None:
    body = f"<office:body><office:text><text:p>{GERMAN}</text:p></office:text></office:body>"
    zipped(path, {"content.xml": f"<office:document-content {ODF}>{body}</office:document-content>"})


def odp(path: Path) -> None:
    page = f"<draw:page><text:p>{GERMAN}</text:p></draw:page>"
    body = f"<office:body><office:presentation>{page * 2}</office:presentation></office:body>"
    zipped(path, {"content.xml": f"<office:document-content {ODF}>{body}</office:document-content>"})


def epub(path: Path) -> None:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
        '<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Buch</dc:title>'
        '<dc:identifier id="id">x</dc:identifier><dc:language>de</dc:language></metadata>'
        '<manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    page = f'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>{GERMAN}</p></body></html>'
    parts = {"META-INF/container.xml": container, "book.opf": package, "a.xhtml": page}
    zipped(path, {"mimetype": "application/epub+zip", **parts})


def html(path: Path) -> None:
    path.write_bytes(f"<html><head><title>Seite</title></head><body><p>{GERMAN}</p></body></html>".encode("latin-1"))


def rtf(path: Path) -> None:
    text = "".join(letter if letter.isascii() else f"\\'{ord(letter):02x}" for letter in GERMAN)
    path.write_text("{\\rtf1\\ansi\\ansicpg1252 " + text + "}")


@pytest.mark.parametrize(
    ("mime_type", "write"),
    [
        (f"{OFFICE}wordprocessingml.document", docx),
        (f"{OPEN}text", odt),
        (f"{OPEN}presentation", odp),
        ("application/epub+zip", epub),
        ("text/html", html),
        ("application/rtf", rtf),
        ("text/markdown", lambda path: path.write_text(f"# Kirche\n\n{GERMAN}\n")),
        ("text/plain", lambda path: path.write_bytes(GERMAN.encode("latin-1"))),
        ("text/plain", lambda path: path.write_bytes(GERMAN.encode("utf-16"))),
    ],
)
async def test_documents_of_every_kind(files: Files, mime_type: str, write: Callable[[Path], Any]) -> None:
    write(files.folder / "file")
    found = await files.summarize("file", mime_type)
    assert found is not None
    assert "problem" not in found
    assert found["language"] == "de"
    assert "für" not in found["keywords"]
    assert "kümmert sich eine kleine" in found["summary"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (pdf(password="secret"), "It cannot be read: PDF is password-protected."),
        (pdf()[:600], "It cannot be read: Invalid PDF."),
        (pdf(" ", pages=2), "It holds no text: its pages are pictures, or blank."),
        (os.urandom(5_000), "It cannot be read: Invalid PDF."),
        (b"", "It is empty."),
        (b"%PDF-1.7" + bytes(2 << 20), "It is larger than 1 MB."),
    ],
)
async def test_what_cannot_be_read_says_so(files: Files, data: bytes, problem: str) -> None:
    files.write("report.pdf", data)
    found = await files.summarize("report.pdf", "application/pdf", max_file_mb=1)
    assert found is not None
    assert (found["problem"], found["summary"], found["language"]) == (problem, "", None)
    assert found["title"] == "report"


async def test_a_file_that_unpacks_to_much_more_than_it_is(files: Files) -> None:
    with zipfile.ZipFile(files.folder / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", bytes(200 << 20))
    found = await files.summarize("bomb.docx", f"{OFFICE}wordprocessingml.document", max_file_mb=1)
    assert found is not None
    assert found["problem"].startswith("It cannot be read: ")


def many_pages(number: int) -> bytes:
    """A PDF of so many pages, written by hand: a library takes minutes for it."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for page in range(number):
        kids.append(b"%d 0 R" % (len(objects) + 1))
        content = b"BT /F 11 Tf 30 700 Td (This is page %d of a very long report about rivers.) Tj ET" % page
        resources = b"<</Font<</F 3 0 R>>>>"
        size = b"[0 0 595 842]"
        facts = b"/Contents %d 0 R/Resources %s/MediaBox %s" % (len(objects) + 2, resources, size)
        objects.append(b"<</Type/Page/Parent 2 0 R%s>>" % facts)
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (number, b" ".join(kids))
    out, places = bytearray(b"%PDF-1.4\n"), []
    for serial, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (serial, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    return bytes(out) + end % (len(objects) + 1, table, len(objects) + 1, len(out))


async def test_a_document_of_five_thousand_pages(files: Files) -> None:
    files.write("long.pdf", many_pages(5_000))
    found = await files.summarize("long.pdf", "application/pdf", max_seconds=120)
    assert found is not None
    assert (found["page_count"], found["language"]) == (5_000, "en")
    assert len(found["summary"]) < 1_000


async def test_files_that_are_gone_are_no_success(files: Files) -> None:
    event = files.event("away.pdf", "application/pdf", size=10)
    with pytest.raises(NotFound, match="is gone"):
        await files.summarize_event(event)
    os.mkfifo(files.folder / "away.pdf")
    with pytest.raises(NotFound, match="is gone"):
        await files.summarize_event(event)


async def test_bytes_that_are_elsewhere_are_copied_while_they_are_read(files: Files) -> None:
    files.elsewhere["far.txt"] = GERMAN.encode()
    event = files.event("far.txt", "text/plain", size=len(GERMAN.encode()))
    found = await files.summarize_event(event)
    assert found is not None
    assert found["language"] == "de"
    assert not list(files.context.state_dir.iterdir())


def instead(monkeypatch: pytest.MonkeyPatch, directory: Path, source: str) -> None:
    """Have the process that reads do something else, however it comes about."""
    file = directory / "child.py"
    file.write_text(source)
    monkeypatch.setattr(processes, "_CHILD", file)
    monkeypatch.setattr(child, "answer", lambda wish: exec(source))


SLEEPS = """
import os, time
with open({pipe!r}, "w") as pipe:
    pipe.write(str(os.getpid()))
time.sleep(600)
"""


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_reading_ends_at_the_time_limit_and_with_whoever_waits(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    instead(monkeypatch, tmp_path, SLEEPS.format(pipe=str(pipe)))
    files.write("slow.pdf", pdf())

    task = asyncio.create_task(files.summarize("slow.pdf", "application/pdf", max_seconds=2))
    limited = int(await asyncio.to_thread(pipe.read_text))
    with pytest.raises(MosaicError, match="longer than 2 s"):
        await task
    assert not running(limited)

    task = asyncio.create_task(files.summarize("slow.pdf", "application/pdf"))
    left = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(left)


async def test_the_limit_is_on_what_a_document_takes_and_not_on_what_a_copied_process_holds(files: Files) -> None:
    held = bytearray(300 << 20)
    files.write("orgel.txt", GERMAN.encode())
    assert await files.summarize("orgel.txt", "text/plain", memory_mb=256) is not None
    assert len(held) == 300 << 20


async def test_a_reader_that_breaks_down_is_an_error(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, tmp_path, "import os; os.kill(os.getpid(), 9)")
    files.write("bad.pdf", pdf())
    with pytest.raises(MosaicError, match="broke down, or ran out of memory"):
        await files.summarize("bad.pdf", "application/pdf")


async def test_what_is_left_out(files: Files) -> None:
    files.write("diary.txt", GERMAN.encode())
    assert await files.summarize("diary.txt", "text/plain", exclude=["*.log", "diary*"]) is None
    assert await files.summarize("diary.txt", "text/plain", exclude=[f"{files.folder}/*"]) is None
    assert await files.summarize("diary.txt", "text/plain", exclude=["*.log", "/home/*"]) is not None


async def test_languages_that_are_none_of_the_user_s(files: Files) -> None:
    files.write("a.txt", GERMAN.encode())
    only_english = await files.summarize("a.txt", "text/plain", languages=["en"])
    assert only_english is not None
    assert only_english["language"] is None
    assert only_english["summary"]


def test_the_schema_and_the_settings_say_the_same() -> None:
    said = {name: part.get("default", "") for name, part in SCHEMA["properties"].items()}
    values = {name: getattr(Settings(), name) for name in Settings.__struct_fields__}
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()} == values
    assert read_settings({"max_sentences": 3, "unknown": 1}).max_sentences == 3
    with pytest.raises(UserError, match="model: an endpoint needs"):
        read_settings({"endpoint": "http://127.0.0.1:9/v1"})
    with pytest.raises(UserError, match="cannot be used"):
        read_settings({"max_sentences": "many"})
