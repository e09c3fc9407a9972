"""Documents with text to measure full-text search with, kept below ``build/``: made up, always the same ones, and real
ones, found on this machine.

The words of a made-up one are drawn as words are in a language: a few very often, most hardly ever, from a list of
made-up ones. A document has its own number as a word.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.trees import ROOT, WORDS

VOCABULARY = 50_000
PER_DIRECTORY = 200
LEAST_WORDS, MOST_WORDS = 300, 900
"""Of a text: 2 to 6 KB, 4 on average."""
PAGES = 3
REAL_ENDINGS = frozenset((".py", ".md", ".txt", ".rst"))
REAL_NAMES = frozenset(("copyright", "README"))
LEAST_BYTES, MOST_BYTES = 1 << 10, 60 << 10
"""Of a real text."""
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


def real_places() -> list[Path]:
    """Where texts are that people wrote: documentation and licences of what is installed, and Python's own library."""
    return [Path("/usr/share/doc"), Path("/usr/share/common-licenses"), Path(sysconfig.get_path("stdlib"))]


def found_texts() -> Iterator[tuple[str, bytes]]:
    """The texts found there, name and content, in an order that their content decides, none of them twice."""
    found: dict[str, Path] = {}
    for place in real_places():
        for parent, _, names in os.walk(place):
            for path in (Path(parent, name) for name in names):
                wanted = path.suffix in REAL_ENDINGS or path.name in REAL_NAMES
                if wanted and path.is_file() and LEAST_BYTES <= path.stat().st_size <= MOST_BYTES:
                    found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    for digest, path in sorted(found.items()):
        content = path.read_bytes()
        try:
            content.decode()
        except UnicodeDecodeError:
            continue
        yield f"{digest[:16]}{path.suffix or '.txt'}", content


def real_texts(most: int) -> Path:
    """A tree of at most so many texts that were found on this machine; complete when its mark exists."""
    root, mark = ROOT / f"real-texts-{most}", ROOT / f"real-texts-{most}.complete"
    if not mark.exists():
        for number, (name, content) in enumerate(itertools.islice(found_texts(), most)):
            place = root / f"{number // PER_DIRECTORY:04d}"
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        mark.touch()
    return root


def number_of_files(root: Path) -> int:
    """Number of files of a tree."""
    return sum(path.is_file() for path in root.rglob("*"))


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
