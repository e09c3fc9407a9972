"""Protects what plugins are given for reading files: text in its encoding, slides, and limits that hold."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import made_documents as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks.reading import decode_text, read_slides

GERMAN = "Größere Übungen über ähnliche Flüsse, dass es für alle schön wäre, die müde nach Hause kommen. " * 4
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 4


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "iso-8859-1"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (RUSSIAN, "utf-8"),
        (RUSSIAN, "windows-1251"),
        (RUSSIAN, "koi8-r"),
        ("日本語の文章はこのように書かれています。漢字とかなを使います。" * 4, "shift_jis"),
        ("plain", "ascii"),
    ],
)
def test_a_text_is_read_in_its_encoding(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


def test_a_text_that_is_cut_in_a_character_is_read_to_there() -> None:
    assert decode_text("schön".encode()[:4]) == "sch"


@pytest.mark.parametrize("data", [bytes(100), b"\x7fELF\x02\x01\x01" + bytes(50), bytes(range(32)) * 10])
def test_what_is_no_text_is_none(data: bytes) -> None:
    assert decode_text(data) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_that_can_be_kept_or_none(data: bytes) -> None:
    text = decode_text(data)
    assert text is None or text.encode().decode() == text


def test_slides_are_read_paragraph_by_paragraph() -> None:
    found = read_slides(BytesIO(made.opendocument("presentation", "Vortrag & mehr", "Ende")), 1 << 20)
    assert found.paragraphs == ("Vortrag & mehr", "Ende")


@pytest.mark.parametrize(
    ("content", "most", "why"),
    [
        (b"no archive", 100, "is no OpenDocument file"),
        (None, 100, "is no OpenDocument file"),
        (b"x" * 200, 100, "unpacks to more than 100 bytes"),
    ],
)
def test_slides_that_are_none_say_why(tmp_path: Path, content: bytes | None, most: int, why: str) -> None:
    path = tmp_path / "slides.odp"
    if content == b"no archive":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("content.xml" if content else "other.xml", content or b"")
    with pytest.raises(UserError, match=why):
        read_slides(path, most)


def test_nothing_is_expanded() -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><office:body><text:p>&b;</text:p></office:body>'
    bomb = BytesIO()
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("content.xml", laughs)
    assert read_slides(bomb, 1 << 20).paragraphs == ("&b;",)


LIMITED = """
import json, os, resource, signal, sys
from mosaicfs_core.hooks.reading import limit_reader
limit_reader(256, 5)
limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_DATA", "RLIMIT_CORE")}
with open(sys.argv[1], "wb") as file:
    try:
        os.posix_fallocate(file.fileno(), 0, (64 << 20) + 1)
    except OSError as error:
        print(json.dumps([limits, error.strerror, signal.alarm(0)]))
"""


def test_a_process_that_reads_is_limited(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "much"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [{"RLIMIT_DATA": 256 << 20, "RLIMIT_CORE": 0}, "File too large", 5]
