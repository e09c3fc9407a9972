"""A text as paragraphs and sentences. Pure.

Documents give lines, not sentences: lines of a paragraph are joined, words that were parted at the end of a line are
made whole, and what is no sentence (page numbers, rows of tables, headings) is told from what is one.
"""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 300
"""So many sentences of a text are looked at: from a longer one some of every part."""
_LONGEST: Final = 500
_SHORTEST: Final = 20
_LEAST_LETTERS: Final = 0.8

_STOPPED: Final = """
    mr mrs ms dr prof st vs etc al fig figs no nos vol pp ed eds inc ltd co corp jr sr approx dept est cf resp art ch
    sec eq ref bzw usw vgl ca nr abs bd hrsg evtl ggf inkl zzgl tel str sog geb gest mio mrd bspw mme mlle sra srta
    núm pág av dott sig ecc bijv enz tzn itd np tj atd obr
"""
_ABBREVIATIONS: Final = frozenset(_STOPPED.split())
_break: Final = re.compile(r"[ \t\r]*\n(?:[ \t\r\f]*\n)+|\f")
_hyphenated: Final = re.compile(r"(?<=[^\W\d_])[-\u00ad]\s*\n\s*(?=[^\W\d_])")
_space: Final = re.compile(r"\s+")
_end: Final = re.compile(r"""[.!?…]+["'”»’)\]]*\s+(?=["'“„«‘(\[¿¡]*[^\W_])|(?<=[。！？])(?=\S)|(?<=।)\s+""")
_last_word: Final = re.compile(r"([^\W_]+)\.$")
_markup: Final = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|[-*+•▪][ \t]+|>[ \t]*|\d+[.)][ \t]+)|[*`]{1,3}(?=\S)|(?<=\S)[*`]{1,3}", re.MULTILINE
)
_link: Final = re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*\)")


def paragraphs(text: str) -> list[str]:
    """The paragraphs, each in one line; blank lines and page ends part them."""
    plain = _markup.sub("", _link.sub(r"\1", text.replace("\x00", "")))
    joined = (_space.sub(" ", _join(part)).strip() for part in _break.split(plain))
    return [part for part in joined if part]


def sentences(text: str) -> list[str]:
    """What reads as sentences, in the order of the text, each once; at most ``MOST`` of them."""
    found = dict.fromkeys(
        sentence for paragraph in paragraphs(text) for sentence in _parts(paragraph) if _is_sentence(sentence)
    )
    return _thinned(list(found))


def _join(part: str) -> str:
    """A word that was parted at the end of a line, made whole, unless what follows begins with a capital."""

    def mend(match: re.Match[str]) -> str:
        return "" if part[match.end()].islower() else "-"

    return _hyphenated.sub(mend, part)


def _parts(paragraph: str) -> list[str]:
    parts: list[str] = []
    begin = 0
    for match in _end.finditer(paragraph):
        if _goes_on(paragraph, begin, match):
            continue
        parts.append(paragraph[begin : match.end()].strip())
        begin = match.end()
    parts.append(paragraph[begin:].strip())
    return [part for part in parts if part]


def _goes_on(paragraph: str, begin: int, match: re.Match[str]) -> bool:
    """Whether a full stop ends no sentence: after an abbreviation, an initial, an ordinal, or before a small letter."""
    following = paragraph[match.end() : match.end() + 1]
    if following.islower():
        return True
    word = _last_word.search(paragraph, begin, match.start() + 1)
    if word is None:
        return False
    last = word.group(1)
    return (len(last) == 1 and last.isalpha()) or last.lower() in _ABBREVIATIONS or (last.isdigit() and len(last) < 3)


def _is_sentence(text: str) -> bool:
    if not _SHORTEST <= len(text) <= _LONGEST:
        # Scripts without spaces say in ten characters what others say in thirty.
        return len(text) <= _LONGEST and len(text) >= _SHORTEST // 3 and text[-1] in "。！？"
    letters = sum(character.isalpha() or character == " " for character in text)
    return letters >= _LEAST_LETTERS * len(text) and text.rstrip("\"'”»’)]")[-1:] in tuple(".!?…。！？:;।")


def _thinned(found: list[str]) -> list[str]:
    """All of the beginning, where documents say what they are about, and an even part of the rest."""
    if len(found) <= MOST:
        return found
    head = MOST // 2
    step = (len(found) - head) / (MOST - head)
    return found[:head] + [found[head + int(number * step)] for number in range(MOST - head)]
