"""Regular expressions of users, run by RE2: linear in the length of the text, whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2

from mosaicfs_core.errors import UserError
from mosaicfs_core.rules.literals import needed_literal

FLAGS: Final = "ims"
MAX_LENGTH: Final = 4096
_MEMORY: Final = 8 << 20
_META: Final = frozenset("\\.^$*+?{}[]|()")


def _options(ignore_case: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    options.case_sensitive = not ignore_case
    return options


@lru_cache(maxsize=512)
def compile_regex(pattern: str, flags: str = "") -> Callable[[str], bool]:
    """A predicate: is the pattern found anywhere in a text?

    ``flags`` are of ``i`` (any case), ``m`` (``^`` and ``$`` at lines) and ``s`` (``.`` matches line ends). Raises
    ``UserError`` for a pattern that RE2 refuses (back-references and look-around, which can take exponential time) and
    for unknown flags.
    """
    if unknown := set(flags) - set(FLAGS):
        raise UserError(f"unknown flag {min(unknown)!r}: expected some of {', '.join(FLAGS)}", field="flags")
    if len(pattern) > MAX_LENGTH:
        raise UserError(f"the regular expression is longer than {MAX_LENGTH} characters", field="pattern")
    given, ignore_case = pattern, "i" in flags
    if pattern.startswith("(?i)"):
        pattern, ignore_case = pattern[4:], True
    if not ignore_case and _META.isdisjoint(pattern):
        return lambda text: pattern in text
    inline = "".join(flag for flag in "ms" if flag in flags)
    source = f"(?{inline}){pattern}" if inline else pattern
    try:
        compiled = re2.compile(source, _options(ignore_case))
    except re2.error as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
        raise UserError(f"{given!r} is not a regular expression that RE2 takes: {reason}", field="pattern") from None
    if "{" in pattern:
        # A repeated group can outgrow the automaton of a set, which then answers wrongly; the plain matcher falls back.
        return lambda text: compiled.search(text) is not None
    return _quick(pattern, source, ignore_case)


def _quick(pattern: str, source: str, ignore_case: bool) -> Callable[[str], bool]:
    """The predicate of ``source``, which is ``pattern`` with its flags before it: without match objects, a third of the
    cost of a search, and none of it where a needed text is absent."""
    patterns = re2.Set.SearchSet(_options(ignore_case))
    patterns.Add(source)
    patterns.Compile()
    matching = patterns.Match
    needed = needed_literal(pattern)
    if needed and not ignore_case:
        return lambda text: needed in text and bool(matching(text))
    if needed and needed.isascii():
        # Beyond ASCII several characters fold into one, and lower() does not know them all.
        lower = needed.lower()
        return lambda text: not (text.isascii() and lower not in text.lower()) and bool(matching(text))
    return lambda text: bool(matching(text))
