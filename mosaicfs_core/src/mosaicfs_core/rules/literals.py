"""Text that a regular expression cannot match without: a quick look that spares most searches. Pure."""

from __future__ import annotations

import re
from typing import Final

_CLASSES: Final = frozenset("dDwWsSbBAz")
_OPTIONAL: Final = frozenset("*?{")
_count = re.compile(r"\{[0-9]+(,[0-9]*)?\}").match


def needed_literal(pattern: str) -> str:
    """The longest text that every match of an RE2 pattern contains, "" when that is not plain to see.

    Understands what lies outside of groups and sets; alternatives, inline flags and rarer escapes give "".
    """
    runs = [""]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "|" or pattern.startswith("(?", at):
            return ""
        if character in "([":
            end = _group_end(pattern, at) if character == "(" else _set_end(pattern, at)
            if end is None:
                return ""
            runs.append("")
            at = end
        elif character == "\\":
            escaped = pattern[at + 1 : at + 2]
            if escaped in _CLASSES:
                runs.append("")
            elif escaped.isalnum():
                return ""
            else:
                runs[-1] += escaped
            at += 2
        elif character in _OPTIONAL:
            # What stands before may be absent.
            runs[-1] = runs[-1][:-1]
            runs.append("")
            end = _quantifier_end(pattern, at)
            if end is None:
                return ""
            at = end
        else:
            if character in ".^$+":
                runs.append("")
            else:
                runs[-1] += character
            at += 1
    return max(runs, key=len)


def _quantifier_end(pattern: str, at: int) -> int | None:
    """The index after the quantifier that begins at ``at``; None for one that is not plain."""
    if pattern[at] != "{":
        return at + 1
    count = _count(pattern, at)
    return None if count is None else count.end()


def _set_end(pattern: str, at: int) -> int | None:
    """The index after the set that begins at ``at``; None for one that is not plain."""
    start = at + 2 if pattern.startswith("[^", at) else at + 1
    end = pattern.find("]", start + 1)
    inner = pattern[at + 1 : end]
    return None if end < 0 or "[" in inner or "\\" in inner else end + 1


def _group_end(pattern: str, at: int) -> int | None:
    """The index after the group that begins at ``at``; None for one with inline flags or a set that is not plain."""
    depth = 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("(?", at):
            return None
        if character == "[":
            end = _set_end(pattern, at)
            if end is None:
                return None
            at = end
            continue
        if character == "\\":
            at += 2
            continue
        depth += {"(": 1, ")": -1}.get(character, 0)
        at += 1
        if depth == 0:
            return at
    return None
