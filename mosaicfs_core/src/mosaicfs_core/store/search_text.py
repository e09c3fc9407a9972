"""Text of name searches, pure: folding, trigrams, patterns."""

from __future__ import annotations

import re

END = "\x02\x02"
"""Follows every indexed name, so that each of its characters begins a trigram, and one or two are found as a prefix."""

_WILD = frozenset("*?[")


def fold(text: str) -> str:
    """Text as comparisons see it: without case."""
    return text.lower() if text.isascii() else text.casefold()


def folded(name: str) -> str:
    """What the trigram index gets for a name."""
    return (name.lower() if name.isascii() else name.casefold()) + END


def is_pattern(text: str) -> bool:
    """Whether a search text is a glob over the whole name rather than a part of it."""
    return not _WILD.isdisjoint(text)


def literals(pattern: str) -> list[str]:
    """The parts of a glob that every matching name contains. What stands in brackets, or after a brace or a backslash,
    is left out: it need not be in every name."""
    plain = re.split(r"[{\\]", pattern, maxsplit=1)[0]
    plain = re.sub(r"\[[!^]?\]?[^\]]*(\]|$)", "*", plain)
    return [part for part in re.split(r"[*?]+", plain) if part]


def match_expression(parts: list[str]) -> str | None:
    """An FTS5 expression that every name with all these (folded) parts satisfies; None when there is nothing to go by."""
    terms: dict[str, None] = {}
    for part in parts:
        if len(part) >= 3:
            for start in range(len(part) - 2):
                terms[_quoted(part[start : start + 3])] = None
        elif part:
            terms[_quoted(part) + "*"] = None
    return " AND ".join(terms) if terms else None


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'
