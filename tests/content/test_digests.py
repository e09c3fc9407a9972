"""The table of digests: by version, surviving damage, bounded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mosaicfs_core.content import DigestBook, digests
from mosaicfs_core.content.digests import sha256_of, unchanged
from mosaicfs_core.content.source import etag_of

pytestmark = pytest.mark.logs("damaged and begins anew")


def test_it_remembers_by_path_and_version(tmp_path: Path) -> None:
    book = DigestBook(tmp_path / "d.db")
    book.put("/a", '"1"', b"x" * 32)
    assert (book.get("/a", '"1"'), book.get("/a", '"2"'), book.get("/b", '"1"')) == (b"x" * 32, None, None)
    book.close()
    assert book.get("/a", '"1"') is None
    book.put("/a", '"1"', b"y" * 32)
    again = DigestBook(tmp_path / "d.db")
    assert again.get("/a", '"1"') == b"x" * 32
    again.close()


def test_a_damaged_table_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "d.db").write_bytes(b"no database at all" * 100)
    book = DigestBook(tmp_path / "d.db")
    book.put("/a", '"1"', b"x" * 32)
    assert book.get("/a", '"1"') == b"x" * 32
    book.close()


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "KEPT", 10)
    book = DigestBook(tmp_path / "d.db")
    for number in range(30):
        book.put(f"/{number}", '"1"', bytes(32))
    assert [number for number in range(30) if book.get(f"/{number}", '"1"')] == list(range(20, 30))
    book.close()


def test_hashing_an_open_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"bytes" * 1000)
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)
    assert sha256_of(descriptor) == hashlib.sha256(b"bytes" * 1000).digest()
    os.close(descriptor)


def test_bytes_written_over_with_the_time_set_back_are_another_version(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"first")
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    descriptor = os.open(path, os.O_RDONLY)
    assert os.fstat(descriptor).st_mtime_ns == before.st_mtime_ns
    assert not unchanged(descriptor, etag_of(before))
    os.close(descriptor)
