"""Protects users' regular expressions: linear time, the flags, clear refusals, and short cuts that change no answer."""

from __future__ import annotations

import re
import time

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core.errors import UserError
from mosaicfs_core.rules import compile_regex
from mosaicfs_core.rules.literals import needed_literal

# Separated by blanks: what meets each branch of the short cuts, and what must keep them from being taken.
PIECES = r"""a b s K / . \. \d \bx [ab] [^a] (ab) (a|b) (?i) (?:ab) (a(b)c) ([)]a) * + ? a{2} b{0,1} {2} {|} ab* ab?c
    ab+c | ^ $ \x61 \Qa.\E \pL [\]]a { é"""
PARTS = st.sampled_from(PIECES.split())
PATTERNS = st.lists(PARTS, min_size=1, max_size=7).map("".join)
TEXTS = st.text("abAB/.xX1cCéÉ])skK\u017f\u212a", max_size=10)


@settings(max_examples=800, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=8), st.sampled_from(["", "i", "s"]))
def test_short_cuts_change_no_answer(pattern: str, texts: list[str], flags: str) -> None:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = "i" not in flags
    try:
        plain = re2.compile(f"(?s){pattern}" if "s" in flags else pattern, options)
    except re2.error:
        with pytest.raises(UserError):
            compile_regex(pattern, flags)
        return
    found = compile_regex(pattern, flags)
    for text in texts:
        assert found(text) is (plain.search(text) is not None), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"\.tmp$", ".tmp"),
        (r"^/home/[a-z]+/secret", "/secret"),
        (r"abc?d", "ab"),
        (r"abc+d", "abc"),
        (r"a|b", ""),
        (r"(?i)abc", ""),
        (r"x(a|b)yz", "yz"),
        (r"\x61bc", ""),
    ],
)
def test_the_literal_that_is_looked_for(pattern: str, literal: str) -> None:
    assert needed_literal(pattern) == literal


def test_flags() -> None:
    assert compile_regex("abc", "i")("xABCx")
    assert compile_regex("^b$", "m")("a\nb\nc")
    assert not compile_regex("^b$")("a\nb\nc")
    assert compile_regex("a.b", "s")("a\nb")
    assert not compile_regex("a.b")("a\nb")


@pytest.mark.parametrize("pattern", ["(", "a**", r"(a)\1", "(?=a)", "a{1001}", "x" * 5000, "[z-a]"])
def test_what_re2_refuses_is_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(UserError) as raised:
        compile_regex(pattern)
    assert raised.value.details["field"] == "pattern"


def test_a_pattern_that_would_backtrack_for_ever_does_not() -> None:
    pattern, text = "(a+)+$", "a" * 5000 + "b"
    began = time.process_time()
    assert not compile_regex(pattern)(text)
    assert not compile_regex("(a|a)*{0,1}b".replace("*{0,1}", "{0,300}c"))(text)
    assert time.process_time() - began < 1
    assert re.compile(pattern)
