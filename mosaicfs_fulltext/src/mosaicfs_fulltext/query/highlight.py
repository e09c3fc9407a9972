"""Fragments of a text around what was found in it, with the offsets of the words.

A text is searched for what the words of the query may look like, and each place is checked as the index would: by its
term. Highlights are in characters of the fragment.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from mosaicfs_core.hooks import Fragment
from mosaicfs_fulltext.language import UNSPACED
from mosaicfs_fulltext.query.syntax import Node, Phrase, Word, asked_for

MOST_LOOKED_AT: Final = 262_144
_WIDTH: Final = 240
_MOST_FRAGMENTS: Final = 3
_MOST_PLACES: Final = 500
_word: Final = re.compile(r"[^\W_]+")
_spaces: Final = re.compile(r"\s")
_WORD_START: Final = r"(?<![^\W_])"

Analyze = Callable[[str], list[str]]
Place = tuple[int, int, int]
"""Start, end, and the number of the word that was asked for."""


def fragments(text: str, query: Node, language: str, analyze: Analyze) -> tuple[Fragment, ...]:
    """The best pieces of a text for a query, in the order of the text; empty when nothing of it is seen in the part
    that is looked at. ``analyze`` makes terms as the index does for the text's language."""
    looked_at = text[:MOST_LOOKED_AT]
    leaves = asked_for(query)
    if not leaves:
        return ()
    places = _places(folded(looked_at), leaves, language, analyze)
    return tuple(_fragment(looked_at, chosen) for chosen in _choose(places))


def folded(text: str) -> str:
    """A text in small letters without accents, each character in its place."""
    if text.isascii():
        return text.lower()
    return "".join(map(_fold, text))


class _Folding(dict[str, str]):
    def __missing__(self, character: str) -> str:
        base = unicodedata.normalize("NFKD", character)[:1].lower() or character
        self[character] = base if len(base) == 1 else character
        return self[character]


_fold: Final = _Folding().__getitem__


class _Wanted:
    """One word of the query: what it may look like, and whether a word of the text is it."""

    def __init__(self, text: str, number: int, analyze: Analyze, prefix: bool, fuzzy: int) -> None:
        self.number = number
        self._text = folded(text)
        self._stems = frozenset(analyze(text)) | frozenset(analyze(self._text))
        self._prefix, self._fuzzy = prefix, fuzzy
        # A stem may end otherwise than the word does (happy, happi), but begins as it.
        self.beginning = self._text if prefix else _common_beginning([self._text, *map(folded, self._stems)])
        self.anything = bool(fuzzy) or not self.beginning

    def is_word(self, word: str, stems: Iterable[str]) -> bool:
        if self._prefix and word.startswith(self._text):
            return True
        if self._stems.intersection(stems):
            return True
        return bool(self._fuzzy) and any(within(self._fuzzy, word, stem) for stem in (self._text, *self._stems))


def _places(text: str, leaves: Sequence[Word | Phrase], language: str, analyze: Analyze) -> list[Place]:
    if language == UNSPACED:
        return _unspaced_places(text, leaves)
    parts = [(leaf, part) for leaf in leaves for part in _word.findall(leaf.text)]
    wanted = [
        _Wanted(part, number, analyze, leaf.prefix, leaf.fuzzy if isinstance(leaf, Word) else 0)
        for number, (leaf, part) in enumerate(parts)
    ]
    if not wanted:
        return []
    if any(one.anything for one in wanted):
        pattern = _word
    else:
        beginnings = sorted({re.escape(one.beginning) for one in wanted}, key=len, reverse=True)
        pattern = re.compile(f"{_WORD_START}(?:{'|'.join(beginnings)})[^\\W_]*")
    known: dict[str, int | None] = {}
    places: list[Place] = []
    for match in pattern.finditer(text):
        word = match[0]
        if word not in known:
            stems = analyze(word)
            known[word] = next((one.number for one in wanted if one.is_word(word, stems)), None)
        number = known[word]
        if number is not None:
            places.append((match.start(), match.end(), number))
            if len(places) >= _MOST_PLACES:
                break
    return places


def _unspaced_places(text: str, leaves: Sequence[Word | Phrase]) -> list[Place]:
    places: list[Place] = []
    for number, leaf in enumerate(leaves):
        for part in _word.findall(folded(leaf.text)):
            found = re.finditer(re.escape(part), text)
            places += [(match.start(), match.end(), number) for match in islice(found, _MOST_PLACES)]
    return sorted(places)


def _choose(places: list[Place]) -> list[list[Place]]:
    """The windows that show most of what was asked for, each place in one of them."""
    windows: list[tuple[tuple[int, int], int, list[Place]]] = []
    end = 0
    for first, (start, _, _) in enumerate(places):
        while end < len(places) and places[end][1] - start <= _WIDTH * 2 // 3:
            end += 1
        inside = places[first : max(end, first + 1)]
        windows.append(((len({number for *_, number in inside}), len(inside)), start, inside))
    windows.sort(key=lambda window: (-window[0][0], -window[0][1], window[1]))
    chosen: list[list[Place]] = []
    for _, _, inside in windows:
        if all(inside[-1][1] < other[0][0] or inside[0][0] > other[-1][1] for other in chosen):
            chosen.append(inside)
            if len(chosen) == _MOST_FRAGMENTS:
                break
    return sorted(chosen)


def _fragment(text: str, places: list[Place]) -> Fragment:
    start, end = places[0][0], min(places[-1][1], places[0][0] + _WIDTH)
    before = max(0, (_WIDTH - (end - start)) // 3)
    left = _to_space(text, max(0, start - before), start)
    right = _from_space(text, end, min(len(text), left + _WIDTH))
    # Every run of space becomes as many plain ones, so that offsets hold.
    piece = _spaces.sub(" ", text[left:right])
    inside = [(at - left, min(until, right) - left) for at, until, _ in places if at < right]
    return Fragment(text=piece, highlights=tuple(inside))


def _to_space(text: str, at: int, most: int) -> int:
    """The beginning of the next word at or after a place, when it is before ``most``."""
    if at == 0:
        return 0
    found = _spaces.search(text, at, most)
    return found.end() if found else at


def _from_space(text: str, least: int, at: int) -> int:
    """The end of the last whole word before a place, when it is after ``least``."""
    if at >= len(text):
        return len(text)
    cut = max(text.rfind(" ", least, at), text.rfind("\n", least, at))
    return cut if cut > least else max(at, least)


def _common_beginning(words: Sequence[str]) -> str:
    first, last = min(words), max(words)
    length = next((at for at, letter in enumerate(first) if last[at : at + 1] != letter), len(first))
    return first[:length]


def within(distance: int, one: str, other: str) -> bool:
    """Whether two words differ in at most so many letters (changed, added, left out, or two swapped)."""
    if abs(len(one) - len(other)) > distance:
        return False
    older: list[int] = []
    above: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, above, row = above, row, [i]
        for j, against in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > distance:
            return False
    return row[-1] <= distance
