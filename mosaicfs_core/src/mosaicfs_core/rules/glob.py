"""Globs over paths and names.

* ``*`` any characters but ``/``, ``?`` one such character, ``[abc]`` ``[a-z]`` ``[!a]`` one of a set (never ``/``);
* ``**`` as a whole component: any number of directories, none included; at the end, everything beneath;
* ``{a,b}`` either, nested or with ``/`` inside as you like; ``\\`` takes the next character literally;
* a pattern without ``/`` is matched against the name alone, at any depth; every other one against the whole path;
* a ``/`` at the end stands for ``/**``.

An unclosed ``[`` or ``{`` stands for itself. Matching costs at most the product of path and pattern lengths: the
regular expressions made here use atomic groups, so that no glob can be written that backtracks without bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from mosaicfs_core.errors import UserError

MAX_ALTERNATIVES: Final = 1000
MAX_LENGTH: Final = 4096
_SPECIAL: Final = frozenset("*?[\\")

Matcher = Callable[[str], bool]


class Glob:
    """A compiled glob: ``matches(path)`` takes a path with or without its leading ``/``."""

    __slots__ = ("_matches", "pattern")

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        """Raises ``UserError`` for an empty or monstrous pattern."""
        alternatives = _alternatives(pattern)
        self.pattern = pattern
        self._matches = _matcher(alternatives, ignore_case)

    def matches(self, path: str) -> bool:
        """Whether the whole path matches."""
        return self._matches(path if path.startswith("/") else "/" + path)

    @property
    def predicate(self) -> Matcher:
        """``matches`` for paths that begin with ``/``, as a bare function."""
        return self._matches


@lru_cache(maxsize=512)
def compile_glob(pattern: str, ignore_case: bool = False) -> Glob:
    """A ``Glob``, kept for the next time."""
    return Glob(pattern, ignore_case=ignore_case)


def has_wildcards(text: str) -> bool:
    """Whether a search text is meant as a glob: it holds ``*``, ``?`` or ``[``."""
    return not {"*", "?", "["}.isdisjoint(text)


@lru_cache(maxsize=512)
def name_matcher(pattern: str, ignore_case: bool = True) -> Matcher:
    """A predicate over plain names (MIME types too): ``/`` has no meaning, ``**`` is ``*``. Raises ``UserError``."""
    parts = [_component_regex(alternative, separator=False) for alternative in _alternatives(pattern)]
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    match = re.compile("|".join(f"(?:{part})" for part in parts), flags).fullmatch
    return lambda name: match(name) is not None


def _alternatives(pattern: str) -> list[str]:
    if not pattern:
        raise UserError("a glob must not be empty: expected a pattern such as **/*.pdf", field="pattern")
    if len(pattern) > MAX_LENGTH:
        raise UserError(f"the glob is longer than {MAX_LENGTH} characters", field="pattern")
    if "{" not in pattern:
        return [pattern]
    return list(dict.fromkeys(_expand(pattern)))


def _skip(pattern: str, at: int) -> int:
    """The index after the escape or the character set that begins at ``at``, else after one character."""
    if pattern[at] == "\\":
        return min(at + 2, len(pattern))
    if pattern[at] == "[" and (end := _set_end(pattern, at)) is not None:
        return end
    return at + 1


def _set_end(pattern: str, at: int) -> int | None:
    """The index after the ``]`` that closes the set beginning at ``at``, or None when nothing does."""
    start = at + 1
    if pattern[start : start + 1] in ("!", "^"):
        start += 1
    end = pattern.find("]", start + 1)
    return None if end < 0 else end + 1


def _find_braces(pattern: str) -> tuple[int, int, list[int]] | None:
    """The first group in braces that is closed and has a comma: its start, its end and its commas."""
    stack: list[tuple[int, list[int]]] = []
    closed: list[tuple[int, int, list[int]]] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "{":
            stack.append((at, []))
        elif character == "," and stack:
            stack[-1][1].append(at)
        elif character == "}" and stack:
            start, commas = stack.pop()
            if commas:
                closed.append((start, at, commas))
        at = _skip(pattern, at)
    return min(closed, default=None)


def _expand(pattern: str) -> list[str]:
    """All patterns without braces that ``pattern`` stands for."""
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        current = waiting.pop()
        group = _find_braces(current)
        if group is None:
            done.append(current)
        else:
            start, end, commas = group
            ends = [*commas, end]
            begins = [start + 1, *(comma + 1 for comma in commas)]
            waiting += [
                current[:start] + current[begin:stop] + current[end + 1 :]
                for begin, stop in zip(begins, ends, strict=True)
            ]
        if len(done) + len(waiting) > MAX_ALTERNATIVES:
            raise UserError(f"the glob has more than {MAX_ALTERNATIVES} alternatives", field="pattern")
    return done


def _components(pattern: str) -> list[str]:
    """The components of one alternative, from the root; a pattern without ``/`` gets ``**`` before it.

    A ``/`` in a character set does not count as a separator, nor can the set match one.
    """
    components = [""]
    at = 0
    while at < len(pattern):
        end = _skip(pattern, at)
        if pattern[at] == "/":
            components.append("")
        else:
            components[-1] += pattern[at:end]
        at = end
    if len(components) == 1 and components[0] != "**":
        components.insert(0, "**")
    elif components[0] == "":
        components.pop(0)
    if components[-1] == "":
        components[-1] = "**"
    plain = [component for component in components if component]
    # Doubled ``**`` and doubled slashes say nothing more than single ones.
    return [part for number, part in enumerate(plain) if part != "**" or not number or plain[number - 1] != "**"]


def _set_regex(pattern: str, at: int, end: int, separator: bool) -> str:
    """The regular expression of the set ``pattern[at:end]``."""
    inner = pattern[at + 1 : end - 1]
    negated = inner[:1] in ("!", "^")
    members = inner[1:] if negated else inner
    ranges: list[str] = []
    position = 0
    while position < len(members):
        low = members[position]
        if position + 2 < len(members) and members[position + 1] == "-":
            high = members[position + 2]
            position += 3
        else:
            high = low
            position += 1
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    no_separator = "(?!/)" if separator else ""
    if not ranges:
        return f"{no_separator}." if negated else "(?!)"
    return f"{no_separator}[{'^' if negated else ''}{''.join(ranges)}]"


def _chunks(component: str, separator: bool) -> list[str]:
    """Regular expressions of what stands before, between and after the stars of a component."""
    one = "[^/]" if separator else "."
    chunks = [""]
    at = 0
    while at < len(component):
        end = _skip(component, at)
        character = component[at]
        if character == "*":
            chunks.append("")
        elif character == "?":
            chunks[-1] += one
        elif character == "\\" and end - at == 2:
            chunks[-1] += re.escape(component[at + 1])
        elif character == "[" and end - at > 1:
            chunks[-1] += _set_regex(component, at, end, separator)
        else:
            chunks[-1] += re.escape(character)
        at = end
    return chunks


def _component_regex(component: str, separator: bool = True) -> str:
    """One component. All but the last star stop at the first fit, for ever: the shortest fit is always good enough."""
    chunks = _chunks(component, separator)
    if len(chunks) == 1:
        return chunks[0]
    any_number = "[^/]*" if separator else ".*"
    middle = "".join(f"(?>{any_number}?{chunk})" for chunk in chunks[1:-1] if chunk)
    return f"{chunks[0]}{middle}{any_number}{chunks[-1]}"


def _alternative_regex(pattern: str) -> str:
    components = _components(pattern)
    if components == ["**"]:
        return "/.+"
    last = components.pop()
    regex = "/"
    group = ""
    starred = False
    for component in components:
        if component == "**":
            regex += f"(?>(?:[^/]+/)*?{group})" if starred and group else group
            group, starred = "", True
        else:
            # A star never stands for an empty directory name.
            group += f"(?=[^/]){_component_regex(component)}/"
    tail = ".+" if last == "**" else f"(?=[^/]){_component_regex(last)}"
    if not starred:
        return f"{regex}{group}{tail}"
    if last == "**":
        return f"{regex}(?>(?:[^/]+/)*?{group}){tail}" if group else f"{regex}{tail}"
    return f"{regex}(?:[^/]+/)*{group}{tail}"


def _path_regex(alternatives: list[str]) -> str:
    return "(?s:" + "|".join(_alternative_regex(alternative) for alternative in alternatives) + r")\Z"


def _is_literal(text: str) -> bool:
    return _SPECIAL.isdisjoint(text)


def _quick(components: list[str]) -> tuple[str, str] | None:
    """Recognize the common shapes that a string method answers: (kind, text)."""
    if all(map(_is_literal, components)):
        return "equal", "/" + "/".join(components)
    if components[0] == "**" and len(components) > 1:
        rest = components[1:]
        if len(rest) == 1 and rest[0][:1] == "*" and rest[0] != "**" and _is_literal(rest[0][1:]):
            return "end", rest[0][1:]
        if all(map(_is_literal, rest)):
            return "end", "/" + "/".join(rest)
        if rest[-1] == "**" and len(rest) > 1 and all(map(_is_literal, rest[:-1])):
            return "within", "/" + "/".join(rest[:-1]) + "/"
    if components[-1] == "**" and len(components) > 1 and all(map(_is_literal, components[:-1])):
        return "start", "/" + "/".join(components[:-1]) + "/"
    return None


def _matcher(alternatives: list[str], ignore_case: bool) -> Matcher:
    if ignore_case:
        match = re.compile(_path_regex(alternatives), re.IGNORECASE).match
        return lambda path: match(path) is not None
    quick: dict[str, list[str]] = {}
    slow: list[str] = []
    for alternative in alternatives:
        if shape := _quick(_components(alternative)):
            quick.setdefault(shape[0], []).append(shape[1])
        else:
            slow.append(alternative)
    tests: list[Matcher] = []
    if equal := frozenset(quick.get("equal", ())):
        tests.append(equal.__contains__)
    if ends := tuple(quick.get("end", ())):
        tests.append(lambda path: path.endswith(ends))
    if starts := tuple(quick.get("start", ())):
        tests.append(lambda path: path.startswith(starts))
    tests += [_within(text) for text in quick.get("within", ())]
    if slow:
        tests.append(_slow(slow))
    return tests[0] if len(tests) == 1 else lambda path: any(test(path) for test in tests)


def _within(text: str) -> Matcher:
    return lambda path: text in path


def _slow(alternatives: list[str]) -> Matcher:
    match = re.compile(_path_regex(alternatives)).match
    return lambda path: match(path) is not None
