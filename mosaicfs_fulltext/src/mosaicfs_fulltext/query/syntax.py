"""What people write into a search box, read into a tree. Pure; never fails.

``word other`` both, in any order · ``"a phrase"`` · ``"two words"~3`` near one another · ``begin*`` · ``fuzzy~`` and
``fuzzy~2`` · ``a OR b`` (``|``) · ``-not`` (``NOT``) · ``( )`` · ``name:``, ``title:``, ``path:``, ``type:``,
``language:`` for one field. What makes no sense as such is taken for words.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeAlias

MOST_CHARACTERS: Final = 4_000
MOST_WORDS: Final = 64
_DEEPEST: Final = 16
_FIELDS: Final = {
    "name": "name",
    "title": "title",
    "path": "path",
    "dir": "path",
    "type": "ending",
    "ext": "ending",
    "lang": "language",
    "language": "language",
}
_SHORT: Final = 5

_token = re.compile(
    r"""\s*(?:
      (?P<open>\() | (?P<close>\)) | (?P<or>\|+|OR(?=[\s()]|$)) | (?P<and>&&|AND(?=[\s()]|$))
      | (?P<not>NOT(?=[\s()]|$)|[-!](?=[\w"(])) | \+(?=[\w"(])
      | (?:(?P<field>[A-Za-z]+):(?=[\w"*]))? (?: "(?P<phrase>[^"]*)(?:"(?:~(?P<slop>\d{1,3}))?|$)
        | (?P<word>[^\s()"|]+) )
      | (?P<stray>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ending = re.compile(r"(?P<stem>.*?)(?:(?P<star>\*+)|~(?P<fuzzy>[0-2]?))?$", re.DOTALL)


class Word(NamedTuple):
    """A word. ``prefix``: any that begins so; ``fuzzy``: any within so many changed letters; ``field``: only there."""

    text: str
    prefix: bool = False
    fuzzy: int = 0
    field: str | None = None


class Phrase(NamedTuple):
    """Words beside one another, up to ``slop`` places off; with ``prefix`` the last one may go on."""

    text: str
    slop: int = 0
    prefix: bool = False
    field: str | None = None


class Both(NamedTuple):
    """All of these."""

    parts: tuple[Node, ...]


class Either(NamedTuple):
    """One of these at least."""

    parts: tuple[Node, ...]


class Not(NamedTuple):
    """Not this."""

    part: Node


Node: TypeAlias = Word | Phrase | Both | Either | Not


def parse(text: str) -> Node | None:
    """The tree of a query; None when nothing is asked for."""
    tokens = [match for match in _token.finditer(text[:MOST_CHARACTERS].strip()) if match.lastgroup != "stray"]
    return _Parser(tokens).query()


def plain_words(text: str) -> Node | None:
    """All the words of a text, and nothing more clever: what is asked when the clever question fails."""
    words = re.findall(r"\w+", text[:MOST_CHARACTERS])[:MOST_WORDS]
    return _join([Word(word) for word in words], Both)


def asked_for(node: Node) -> list[Word | Phrase]:
    """What should be seen in a text that was found: all that is not excluded, nor of another field."""
    if isinstance(node, Not):
        return []
    if isinstance(node, Word | Phrase):
        return [node] if node.field is None else []
    return [leaf for part in node.parts for leaf in asked_for(part)]


class _Parser:
    """Takes tokens from the left; a closing parenthesis too many is passed over, one too few is added."""

    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._words = 0

    def query(self) -> Node | None:
        parts: list[Node] = []
        while self._at < len(self._tokens):
            part = self._either(0)
            if part is not None:
                parts.append(part)
            self._at += 1  # a parenthesis that closes nothing
        return _join(parts, Both)

    def _either(self, depth: int) -> Node | None:
        parts = [self._both(depth)]
        while self._kind() == "or":
            self._at += 1
            parts.append(self._both(depth))
        return _join([part for part in parts if part is not None], Either)

    def _both(self, depth: int) -> Node | None:
        parts: list[Node] = []
        while (kind := self._kind()) not in (None, "close", "or"):
            if kind == "and":
                self._at += 1
                continue
            part = self._one(depth)
            if part is not None:
                parts.append(part)
        return _join(parts, Both)

    def _one(self, depth: int) -> Node | None:
        negative = False
        while self._kind() == "not":
            negative = not negative
            self._at += 1
        kind = self._kind()
        if kind in (None, "close", "or", "and"):
            return None
        match = self._tokens[self._at]
        self._at += 1
        part: Node | None
        if kind == "open":
            part = self._group(depth)
        else:
            self._words += 1
            part = _leaf(match) if self._words <= MOST_WORDS else None
        return Not(part) if negative and part is not None else part

    def _group(self, depth: int) -> Node | None:
        if depth >= _DEEPEST:
            return None
        part = self._either(depth + 1)
        if self._kind() == "close":
            self._at += 1
        return part

    def _kind(self) -> str | None:
        """What the next token is: ``open``, ``close``, ``or``, ``and``, ``not``, ``leaf``; None at the end."""
        if self._at >= len(self._tokens):
            return None
        match = self._tokens[self._at]
        for kind in ("open", "close", "or", "and", "not"):
            if match[kind]:
                return kind
        return "leaf"


def _leaf(match: re.Match[str]) -> Node | None:
    field = None
    name = match["field"]
    if name is not None:
        field = _FIELDS.get(name.lower())
    if match["phrase"] is not None:
        text = match["phrase"] if name is None or field else f"{name} {match['phrase']}"
        return Phrase(text.rstrip("* "), int(match["slop"] or 0), text.endswith("*"), field) if text.strip() else None
    word = match["word"]
    if word is None:
        return None
    if name is not None and field is None:
        word = f"{name}:{word}"
    found = _ending.fullmatch(word)
    assert found is not None
    stem = found["stem"]
    if not re.search(r"\w", stem):
        return None
    fuzzy = 0
    if found["fuzzy"] is not None:
        fuzzy = int(found["fuzzy"]) if found["fuzzy"] else (1 if len(stem) <= _SHORT else 2)
    return Word(stem, found["star"] is not None, fuzzy, field)


def _join(parts: list[Node], kind: type[Both] | type[Either]) -> Node | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    return kind(tuple(parts))
