"""Documents with text to measure full-text search with: deterministic, made once and kept below ``build/``.

The words are drawn as words are in a language: a few very often, most hardly ever, from a list of made-up ones. A
document has its own number as a word.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.trees import ROOT, WORDS

VOCABULARY = 50_000
PER_DIRECTORY = 200
LEAST_WORDS, MOST_WORDS = 300, 900
"""Of a text: 2 to 6 KB, 4 on average."""
PAGES = 3
SYLLABLES = tuple("".join(pair) for pair in itertools.product("bdfgklmnprst", "aeiou"))
COMMON = ("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "with", "as", "be", "by", "at")


def vocabulary() -> list[str]:
    """Words, most common first."""
    source = random.Random(1)
    made = {"".join(source.choices(SYLLABLES, k=source.randint(2, 4))) for _ in range(VOCABULARY)}
    rare = sorted(made)
    source.shuffle(rare)
    return [*COMMON, *WORDS, *rare]


class Writer:
    """Writes texts, always the same ones."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)
        self._words = vocabulary()
        # Zipf's law: the word of rank n is 1/n as frequent as the first one.
        self._weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(self._words))))

    def text(self, number: int) -> str:
        """The text of a document: sentences in paragraphs, with a number that no other one has."""
        count = self._source.randint(LEAST_WORDS, MOST_WORDS)
        words = self._source.choices(self._words, cum_weights=self._weights, k=count)
        lines = [" ".join(words[start : start + 12]).capitalize() + "." for start in range(0, count, 12)]
        return "\n".join([f"Document number{number:07d} of {words[0]}.", *lines, ""])


def texts(count: int) -> Path:
    """A tree of so many plain texts; complete when its mark exists."""
    root, mark = ROOT / f"texts-{count}", ROOT / f"texts-{count}.complete"
    if not mark.exists():
        writer = Writer(count)
        for number in range(count):
            if number % PER_DIRECTORY == 0:
                place = root / f"{number // PER_DIRECTORY:04d}"
                place.mkdir(parents=True, exist_ok=True)
            (place / f"{WORDS[number % len(WORDS)]}-{number:06d}.txt").write_text(writer.text(number))
        mark.touch()
    return root


def pdfs(count: int) -> Path:
    """A tree of so many PDFs of some pages each; complete when its mark exists."""
    root, mark = ROOT / f"pdfs-{count}", ROOT / f"pdfs-{count}.complete"
    if not mark.exists():
        writer = Writer(count + 1)
        for number in range(count):
            place = root / f"{number // PER_DIRECTORY:04d}"
            place.mkdir(parents=True, exist_ok=True)
            pages = [writer.text(number * PAGES + page) for page in range(PAGES)]
            (place / f"{WORDS[number % len(WORDS)]}-{number:06d}.pdf").write_bytes(pdf(pages))
        mark.touch()
    return root


def pdf(pages: Sequence[str]) -> bytes:
    """A PDF whose pages have these lines, set in one of the fonts that every reader has."""
    from fpdf import FPDF

    document = FPDF()
    document.set_font("Helvetica", size=7)
    for page in pages:
        document.add_page()
        document.multi_cell(0, 3, page)
    return bytes(document.output())


def size(root: Path) -> int:
    """Bytes of all files of a tree."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
