"""Ignore rules in the manner of ``.gitignore``: which names of a directory are left out. Pure but for ``read_rules``.

A pattern without a slash (other than at its end) matches names at any depth below the file it stands in; one with a
slash is relative to that file's directory. ``*`` and ``?`` stop at slashes, ``**`` does not, ``[…]`` is a set, a
trailing ``/`` matches directories only, ``!`` takes a name back in, ``#`` begins a comment. The last rule that matches
decides; the rules of deeper directories come later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

IGNORE_FILE: Final = ".mosaicfsignore"
MAX_IGNORE_BYTES: Final = 1 << 20


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
    rules = []
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
        if not pattern:
            continue
        anchored = "/" in pattern
        expression = _expression(pattern.lstrip("/"))
        try:
            match = re.compile(expression if anchored else f"(?:.*/)?{expression}", re.DOTALL)
        except re.error:
            continue
        rules.append(Rule(match, negated, directories_only, base, line.strip(), origin))
    return tuple(rules)


def _expression(pattern: str) -> str:
    """A glob as a regular expression over a relative path."""
    out, index = [], 0
    while index < len(pattern):
        rest = pattern[index:]
        if rest.startswith("**/"):
            out.append("(?:.*/)?")
            index += 3
        elif rest.startswith("**"):
            out.append(".*")
            index += 2
        elif pattern[index] == "*":
            out.append("[^/]*")
            index += 1
        elif pattern[index] == "?":
            out.append("[^/]")
            index += 1
        elif (found := re.match(r"\[([!^]?)(\]?[^\]]*)\]", rest)) is not None:
            inner = found[2].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[{'^/' if found[1] else ''}{inner}]")
            index += found.end()
        elif pattern[index] == "\\" and index + 1 < len(pattern):
            out.append(re.escape(pattern[index + 1]))
            index += 2
        else:
            out.append(re.escape(pattern[index]))
            index += 1
    return "".join(out)


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
