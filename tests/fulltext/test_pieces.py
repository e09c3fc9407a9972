"""Protects the pure parts: encodings, kinds of files, languages, the syntax of queries, fragments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_fulltext.extraction.kinds import kind_of
from mosaicfs_fulltext.index.analysis import terms
from mosaicfs_fulltext.language import LANGUAGES, detect_language
from mosaicfs_fulltext.query.highlight import folded, fragments, within
from mosaicfs_fulltext.query.syntax import Both, Either, Not, Phrase, Word, parse


@pytest.mark.parametrize(
    ("name", "mime_type", "way"),
    [
        ("a.pdf", None, "document"),
        ("A.PDF", "application/octet-stream", "document"),
        ("noending", "application/pdf", "document"),
        ("module.ts", "video/mp2t", "text"),
        ("README", None, "look"),
        (".bashrc", None, "look"),
        ("x.unknown", "text/x-thing; charset=latin-1", "text"),
        ("x.unknown", "application/geo+json", "text"),
        ("photo.heic", "image/heic", "nothing"),
        ("song.mp3", "audio/mpeg", "nothing"),
        ("drawing.svg", "image/svg+xml", "text"),
    ],
)
def test_a_file_is_read_by_its_name_and_type(name: str, mime_type: str | None, way: str) -> None:
    assert kind_of(name, mime_type).way == way


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The house that you have is not for us, and it was on the hill by this road.", "en"),
        ("Der Hund und die Katze sind nicht im Haus, das auf dem Berg ist.", "de"),
        ("Le chat et la souris ne sont pas dans la maison qui est sur la colline.", "fr"),
        ("El perro y la casa no son para los que viven en una de las calles del pueblo.", "es"),
        ("Hij is niet in het huis van de man die er ook was, maar wel bij de kerk.", "nl"),
        ("Η γάτα είναι στο σπίτι", "el"),
        ("القط في البيت الكبير", "ar"),
        ("国破山河在，城春草木深。", "cjk"),
        ("สวัสดีครับ ผมชื่อสมชาย", "cjk"),
        ("for (i = 0; i < n; i++) { total += price[i]; }", "plain"),
        ("42", "plain"),
        ("", "plain"),
    ],
)
def test_a_language_is_told_by_its_words_or_its_script(text: str, language: str) -> None:
    assert detect_language(text) == language
    if language in LANGUAGES:
        others = [other for other in LANGUAGES if other != language]
        assert detect_language(text, others) != language


@pytest.mark.parametrize("written", ["(THE)of;and-to2in_is", "(THE)of;and-to2in_is é"])
def test_words_that_tell_the_language_end_at_whatever_is_no_letter(written: str) -> None:
    assert detect_language(written) == "en"


@pytest.mark.parametrize(
    ("query", "tree"),
    [
        ("word", Word("word")),
        ("two words", Both((Word("two"), Word("words")))),
        ('"a phrase"', Phrase("a phrase")),
        ('"near words"~3', Phrase("near words", slop=3)),
        ('"and so o*"', Phrase("and so o", prefix=True)),
        ("pre*", Word("pre", prefix=True)),
        ("fuzy~", Word("fuzy", fuzzy=1)),
        ("fuzziness~", Word("fuzziness", fuzzy=2)),
        ("a OR b c", Either((Word("a"), Both((Word("b"), Word("c")))))),
        ("a|b", Either((Word("a"), Word("b")))),
        ("-a b", Both((Not(Word("a")), Word("b")))),
        ("NOT (a OR b)", Not(Either((Word("a"), Word("b"))))),
        ("NOT NOT a", Word("a")),
        ("name:report", Word("report", field="name")),
        ('title:"annual report"', Phrase("annual report", field="title")),
        ("http://example.org", Word("http://example.org")),
        ("well-known", Word("well-known")),
        ("NOTHING ORDER ANDES", Both((Word("NOTHING"), Word("ORDER"), Word("ANDES")))),
        ("OR AND NOT", None),
        ("()", None),
        ('""', None),
    ],
)
def test_a_query_is_read(query: str, tree: object) -> None:
    assert parse(query) == tree


@given(st.text(alphabet='ab"()-+~*|:! ORANDT\n', max_size=40))
def test_any_query_is_read(query: str) -> None:
    parse(query)


def test_the_piece_that_shows_most_is_chosen() -> None:
    text = "engine " + "filler " * 200 + "the engine and the turbine " + "filler " * 200 + "turbine"
    query = parse("engine turbine")
    assert query is not None
    first, middle, last = fragments(text, query, "en", lambda word: terms("en", word))
    assert [len(piece.highlights) for piece in (first, middle, last)] == [1, 2, 1]
    assert [middle.text[begin:end] for begin, end in middle.highlights] == ["engine", "turbine"]


@given(st.text(max_size=200))
def test_folding_keeps_every_character_in_its_place(text: str) -> None:
    assert len(folded(text)) == len(text)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("house", "house", 0), ("house", "hose", 1), ("house", "huose", 1), ("house", "mouses", 2), ("ab", "cd", 2)],
)
def test_words_are_within_a_distance(one: str, other: str, distance: int) -> None:
    assert within(distance, one, other)
    assert distance == 0 or not within(distance - 1, one, other)
