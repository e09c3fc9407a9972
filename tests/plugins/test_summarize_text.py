"""Protects how a text becomes sentences, and which of them are its summary."""

from __future__ import annotations

import pytest

from mosaicfs_plugins.summarize.reading.ranking import summary
from mosaicfs_plugins.summarize.reading.sentences import MOST, paragraphs, sentences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He met Dr. Smith at noon. They talked for hours.", ["He met Dr. Smith at noon.", "They talked for hours."]),
        ("Am 3. Mai war es sehr kalt. Danach wurde es warm.", ["Am 3. Mai war es sehr kalt.", "Danach wurde es warm."]),
        (
            "J. S. Bach wrote it in Leipzig. It is very long, i.e. two hours.",
            ["J. S. Bach wrote it in Leipzig.", "It is very long, i.e. two hours."],
        ),
        (
            "A line that\ngoes on here. And an-\nother that is parted.",
            ["A line that goes on here.", "And another that is parted."],
        ),
        ("An E-\nMail has arrived for you today.", ["An E-Mail has arrived for you today."]),
        (
            "“Nobody has told me anything at all.” Then they left in the rain!",
            ["“Nobody has told me anything at all.”", "Then they left in the rain!"],
        ),
        ("房子坐落在一条长路的尽头。已经多年没有人住了。", ["房子坐落在一条长路的尽头。", "已经多年没有人住了。"]),
        ("17\n\n12.50 13.75 99.00 12.50 13.75\n\nChapter One", []),
        ("The same sentence again. The same sentence again.", ["The same sentence again."]),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found


def test_a_long_text_is_thinned_evenly() -> None:
    words = [f"{chr(97 + n // 676)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}" for n in range(5_000)]
    found = sentences(" ".join(f"Here is the sentence called {word}." for word in words))
    assert len(found) == MOST
    assert found[0].endswith("aaa.")
    assert words.index(found[-1][-4:-1]) > 4_900


def test_markup_is_no_text() -> None:
    assert paragraphs("# Title\n\n- an **item** with a [link](http://x)\n\n> `code_name` here") == [
        "Title",
        "an item with a link",
        "code_name here",
    ]


def test_the_summary_is_what_the_others_say_in_its_order() -> None:
    found = [
        "The weather was fine that day.",
        "The bridge over the river was built in stone.",
        "Stone from the river made the bridge strong.",
        "Nobody likes cold soup.",
        "Each flood of the river shook the bridge of stone.",
    ]
    chosen = summary(found, 2, frozenset({"the", "was", "that", "of", "in", "from"}))
    assert len(chosen) == 2
    assert all("bridge" in sentence for sentence in chosen)
    assert chosen == [sentence for sentence in found if sentence in chosen]
    assert summary(found, 5, frozenset()) == found
    assert summary([], 3, frozenset()) == []
    assert summary(["…", "!!", "??"], 2, frozenset()) == ["…", "!!"]


def test_two_sentences_that_say_the_same_are_one() -> None:
    found = ["The river carries stone.", "Stone is what the river carries.", "Cats sleep.", "The river falls."]
    chosen = summary(found, 3, {"the", "is", "what"})
    assert [sentence for sentence in chosen if "carries" in sentence] == ["The river carries stone."]
