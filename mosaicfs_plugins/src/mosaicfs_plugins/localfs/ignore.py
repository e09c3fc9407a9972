"""Ignore rules in the manner of ``.gitignore``: which names of a directory are left out. Pure but for ``read_rules``.

A pattern without a slash (other than at its end) matches names at any depth below the file it stands in; one with a
slash is relative to that file's directory. ``*`` and ``?`` stop at slashes, ``**`` as a whole component stands for any
number of directories and at the end for everything beneath (elsewhere it is ``*``), ``[…]`` is a set, a trailing ``/``
matches directories only, ``!`` takes a name back in, ``#`` begins a comment. The last rule that matches decides; the
rules of deeper directories come later.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

IGNORE_FILE: Final = ".mosaicfsignore"
MAX_IGNORE_BYTES: Final = 1 << 20
MAX_PATTERN: Final = 1024
"""Characters; a longer pattern is passed over."""
MAX_RULES: Final = 1000
"""Patterns of one file: each costs time for every name beneath it."""
_ANYTHING: Final = ".*?"
_DIRECTORIES: Final = "(?:.*?/)??"
_SET: Final = re.compile(r"\[([!^]?)(\]?[^\]]*)\]")

logger = logging.getLogger(__name__)


class Rule(NamedTuple):
    """One pattern. ``match`` is given a path relative to ``base`` (a native path, no trailing slash)."""

    match: re.Pattern[str]
    negated: bool
    directories_only: bool
    base: str
    text: str
    origin: str


def parse_rules(text: str, base: str, origin: str) -> tuple[Rule, ...]:
    """The rules of an ignore file's text; patterns that make no regular expression are passed over, as git does."""
    rules: list[Rule] = []
    for line in text.splitlines():
        pattern = line.rstrip() if not line.endswith("\\ ") else line
        if not pattern or pattern.startswith("#"):
            continue
        negated = pattern.startswith("!")
        pattern = pattern[1:] if negated else pattern
        if pattern.startswith(("\\#", "\\!")):
            pattern = pattern[1:]
        directories_only = pattern.endswith("/")
        pattern = pattern.rstrip("/")
        if not pattern or len(pattern) > MAX_PATTERN:
            continue
        if len(rules) == MAX_RULES:
            logger.warning("%s: what comes after the first %d patterns is passed over", origin, MAX_RULES)
            break
        anchored = "/" in pattern
        try:
            match = re.compile(_expression(pattern.lstrip("/"), anchored), re.DOTALL)
        except re.error:
            continue
        rules.append(Rule(match, negated, directories_only, base, line.strip(), origin))
    return tuple(rules)


def _expression(pattern: str, anchored: bool) -> str:
    """A glob as a regular expression over a relative path, whose cost is bounded by the product of their lengths.

    Of what may stand for a wildcard the shortest is always good enough for what follows, except at the end. So every
    fit but the last one is final (atomic), and no pattern tries the same characters over and over again.
    """
    gaps, segments = _taken_apart(pattern)
    if not anchored:
        gaps, segments = [_DIRECTORIES, *gaps], [[""], *segments]
    out = _segment(segments[0], last=len(segments) == 1)
    for number, (gap, segment) in enumerate(zip(gaps, segments[1:], strict=True), start=2):
        last = number == len(segments)
        text = _segment(segment, last=last)
        out += f"{gap}{text}" if last else f"(?>{gap}{text})"
    return out


def _taken_apart(pattern: str) -> tuple[list[str], list[list[str]]]:
    """The gaps that may cross slashes, and what stands before, between and after them: regular expressions with a
    ``*`` between each two."""
    gaps: list[str] = []
    segments = [[""]]
    index = 0
    while index < len(pattern):
        rest = pattern[index:]
        begins = index == 0 or pattern[index - 1] == "/"
        if begins and (rest.startswith("**/") or rest == "**"):
            if segments[-1] != [""] or not gaps:  # doubled ones say nothing more
                gaps.append(_DIRECTORIES if rest != "**" else _ANYTHING)
                segments.append([""])
            elif rest == "**":
                gaps[-1] = _ANYTHING
            index += 3
        elif pattern[index] == "*":
            if segments[-1][-1] or len(segments[-1]) == 1:
                segments[-1].append("")
            index += 1
        else:
            text, length = _one(rest)
            segments[-1][-1] += text
            index += length
    return gaps, segments


def _one(rest: str) -> tuple[str, int]:
    """What the pattern begins with as a regular expression of one character, and its length in the pattern."""
    if rest[0] == "?":
        return "[^/]", 1
    if (found := _SET.match(rest)) is not None:
        inner = found[2].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^/' if found[1] else ''}{inner}]", found.end()
    if rest[0] == "\\" and len(rest) > 1:
        return re.escape(rest[1]), 2
    return re.escape(rest[0]), 1


def _segment(chunks: Sequence[str], *, last: bool) -> str:
    """What holds no ``**``. The last star of the last segment takes what is left of the name."""
    if len(chunks) == 1:
        return chunks[0]
    final = chunks[-1]
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in (chunks[1:-1] if last else chunks[1:]) if chunk)
    return f"{chunks[0]}{middle}[^/]*{final}" if last else f"{chunks[0]}{middle}"


def ignoring_rule(rules: Sequence[Rule], directory: str, name: str, is_directory: bool) -> Rule | None:
    """The rule that leaves ``name`` in ``directory`` (native path) out, or None."""
    for rule in reversed(rules):
        if rule.directories_only and not is_directory:
            continue
        below = directory[len(rule.base) + 1 :] if len(directory) > len(rule.base) else ""
        if rule.match.fullmatch(f"{below}/{name}" if below else name):
            return None if rule.negated else rule
    return None


def read_rules(directory: str) -> tuple[Rule, ...]:
    """The rules of the ignore file in ``directory``; none when it has no readable one."""
    path = os.path.join(directory, IGNORE_FILE)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(MAX_IGNORE_BYTES)
        except OSError:
            return ()
    return parse_rules(data.decode("utf-8", "surrogateescape"), directory, path)
