"""Protects the written form of paths: one text for every name a disk can hold, and one name for every text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.documents import escape, is_under, join, name_of, normalize_virtual, parent_of, unescape
from mosaicfs_core.documents.paths import is_written
from mosaicfs_core.errors import UserError

# Bytes that meet every branch: plain, invalid, cut short, and real characters of the reserved range.
NATIVE = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=6),
        st.text(max_size=5).map(lambda text: text.encode("utf-8", "ignore")),
        st.integers(0x10FF00, 0x10FFFF).map(lambda code: chr(code).encode("utf-8")),
        st.integers(0x10FF00, 0x10FFFF).map(lambda code: chr(code).encode("utf-8")[:3]),
    ),
    max_size=6,
).map(b"".join)

WRITTEN = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.integers(0x10FF80, 0x10FFFF).map(chr),
        st.sampled_from("aé/\U0010ff41\U0010ffc3\U0010ffa9"),
    ),
    max_size=12,
)


@given(NATIVE)
def test_every_native_path_survives_writing_and_reading(native: bytes) -> None:
    written = escape(native)
    assert unescape(written) == native
    assert json.loads(json.dumps(written, ensure_ascii=False).encode("utf-8")) == written


@given(WRITTEN)
def test_every_text_is_either_refused_or_the_only_writing_of_its_bytes(written: str) -> None:
    try:
        native = unescape(written)
    except UserError:
        assert not is_written(written)
    else:
        assert escape(native) == written
        assert is_written(written) == ("\0" not in written)


@pytest.mark.parametrize(
    ("native", "written"),
    [
        (b"/home/user/report.pdf", "/home/user/report.pdf"),
        ("/büro/日本.txt".encode(), "/büro/日本.txt"),
        (b"/a/\xff\xfe", "/a/\U0010ffff\U0010fffe"),
        (b"caf\xe9", "caf\U0010ffe9"),
        ("\U0010ff80".encode(), "\U0010fff4\U0010ff8f\U0010ffbe\U0010ff80"),
    ],
)
def test_the_written_form(native: bytes, written: str) -> None:
    assert escape(native) == written


@pytest.mark.parametrize("text", ["\ud800", "\U0010ff41", "\U0010ffc3\U0010ffa9"])
def test_text_that_no_path_is_written_as_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        unescape(text)


def test_parents_names_and_joining() -> None:
    assert [parent_of(path) for path in ("/", "/a", "/a/b", "/a/b/c")] == ["/", "/", "/a", "/a/b"]
    assert [name_of(path) for path in ("/", "/a", "/a/b")] == ["", "a", "b"]
    assert [join("/", "a"), join("/a", "b")] == ["/a", "/a/b"]


@pytest.mark.parametrize(
    ("path", "root", "under"),
    [("/a/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("/a", "/", True), ("/a/b", "/a/", True)],
)
def test_being_under_a_root(path: str, root: str, under: bool) -> None:
    assert is_under(path, root) is under


@pytest.mark.parametrize(("given_", "normal"), [("/", "/"), ("//a///b/", "/a/b"), ("/a/.b", "/a/.b")])
def test_virtual_paths_lose_superfluous_slashes(given_: str, normal: str) -> None:
    assert normalize_virtual(given_) == normal


@pytest.mark.parametrize(
    "path", ["", "a", "../a", "/a/../b", "/.", "/a\0b", "/" + "x" * 256, "/" + "é" * 128, "/\udc80"]
)
def test_virtual_paths_that_name_nothing_are_refused(path: str) -> None:
    with pytest.raises(UserError):
        normalize_virtual(path)
