"""Protects globs: they mean what the documentation says (checked against a naive matcher), and none can be written that
takes exponential time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core.errors import UserError
from mosaicfs_core.rules import Glob, compile_glob, has_wildcards, name_matcher

ALPHABET = "abé."
COMPONENTS = st.text(ALPHABET, min_size=1, max_size=5)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
TOKENS = st.one_of(
    st.sampled_from(["*", "*", "?", "**", "\\*", "\\a", "[ab]", "[!a]", "[a-b.]", "[^.]", "[]a]", "[", "]", "[a/]"]),
    st.text(ALPHABET, min_size=1, max_size=2),
)
PATTERN_COMPONENTS = st.one_of(st.just("**"), st.lists(TOKENS, min_size=1, max_size=4).map("".join))
PLAIN_PATTERNS = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "/", "**/"]),
    st.lists(PATTERN_COMPONENTS, min_size=1, max_size=4),
    st.sampled_from(["", "", "/**", "/"]),
)


def set_at(pattern: str, at: int) -> int | None:
    """The end of the character set that begins at ``at``, or None."""
    start = at + 2 if pattern[at + 1 : at + 2] in ("!", "^") else at + 1
    end = pattern.find("]", start + 1)
    return end + 1 if end >= 0 else None


def in_set(body: str, character: str) -> bool:
    negated = body[0] in "!^"
    body = body[1:] if negated else body
    found, at = False, 0
    while at < len(body):
        if at + 2 < len(body) and body[at + 1] == "-":
            found = found or body[at] <= character <= body[at + 2]
            at += 3
        else:
            found = found or body[at] == character
            at += 1
    return found is not negated


def naive_component(pattern: str, name: str) -> bool:
    """One component, by trying everything."""
    if not pattern:
        return not name
    head = pattern[0]
    if head == "*":
        return naive_component(pattern[1:], name) or (bool(name) and naive_component(pattern, name[1:]))
    if not name:
        return False
    if head == "?":
        return naive_component(pattern[1:], name[1:])
    if head == "\\" and len(pattern) > 1:
        return name[0] == pattern[1] and naive_component(pattern[2:], name[1:])
    if head == "[" and (end := set_at(pattern, 0)) is not None:
        return in_set(pattern[1 : end - 1], name[0]) and naive_component(pattern[end:], name[1:])
    return name[0] == head and naive_component(pattern[1:], name[1:])


def split(pattern: str) -> list[str]:
    """At the slashes outside of sets and escapes."""
    parts, at = [""], 0
    while at < len(pattern):
        end = at + 1
        if pattern[at] == "\\" and at + 1 < len(pattern):
            end = at + 2
        elif pattern[at] == "[" and (closing := set_at(pattern, at)) is not None:
            end = closing
        if pattern[at] == "/":
            parts.append("")
        else:
            parts[-1] += pattern[at:end]
        at = end
    return parts


def naive_path(patterns: list[str], names: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        if len(patterns) == 1:
            return bool(names)
        return naive_path(patterns[1:], names) or (bool(names) and naive_path(patterns, names[1:]))
    return bool(names) and naive_component(patterns[0], names[0]) and naive_path(patterns[1:], names[1:])


def naive(pattern: str, path: str) -> bool:
    parts = split(pattern)
    if len(parts) == 1 and parts != ["**"]:
        parts = ["**", *parts]
    if parts[-1] == "":
        parts[-1] = "**"
    return naive_path([part for part in parts if part], path[1:].split("/"))


@settings(max_examples=600, deadline=None)
@given(PLAIN_PATTERNS, st.lists(PATHS, min_size=1, max_size=8))
def test_globs_agree_with_a_naive_matcher(pattern: str, paths: list[str]) -> None:
    glob = Glob(pattern)
    for path in paths:
        expected = naive(pattern, path)
        assert glob.matches(path) is expected, (pattern, path)
        assert Glob(pattern, ignore_case=True).matches(path) is expected
        assert glob.matches(path[1:]) is expected


@settings(max_examples=500, deadline=None)
@given(PATHS, st.data())
def test_patterns_made_from_a_path_match_it(path: str, data: st.DataObject) -> None:
    """Random pairs seldom match; here a pattern is derived from the path by widening it."""
    parts: list[str] = []
    for name in path[1:].split("/"):
        way = data.draw(st.sampled_from(["keep", "star", "suffix", "prefix", "any", "brace", "drop"]))
        widened = {"keep": name, "star": "*", "suffix": "*" + name[1:], "prefix": name[:-1] + "*"}
        widened |= {"any": "?" * len(name), "brace": f"{{zz,{name}}}", "drop": "**"}
        parts.append(widened[way])
    if parts[-1] == "**":
        parts.append("*")
    pattern = "/" + "/".join(parts)
    assert Glob(pattern).matches(path), pattern
    assert Glob(pattern.upper().replace("É", "é"), ignore_case=True).matches(path)


@settings(max_examples=300, deadline=None)
@given(st.lists(PLAIN_PATTERNS.filter(lambda p: not set(p) & set("[]\\,")), min_size=2, max_size=4), PATHS)
def test_braces_mean_any_of_their_alternatives(patterns: list[str], path: str) -> None:
    assert Glob("{" + ",".join(patterns) + "}").matches(path) is any(
        Glob(pattern).matches(path) for pattern in patterns
    )


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/*.{pdf,docx,md}", "/home/user/a.md", True),
        ("**/*.{pdf,docx,md}", "/a.pdf", True),
        ("**/*.{pdf,docx,md}", "/a.PDF", False),
        ("*.pdf", "/home/user/a.pdf", True),
        ("/*.pdf", "/home/user/a.pdf", False),
        ("**/archive/**", "/home/archive/x", True),
        ("**/archive/**", "/archive/x/y", True),
        ("**/archive/**", "/home/archives/x", False),
        ("/home/**", "/home/a/b", True),
        ("/home/**", "/home", False),
        ("/home/*/a", "/home/x/y/a", False),
        ("/home/*", "/home/.hidden", True),
        ("/a/**/b", "/a/b", True),
        ("/a/**/b", "/a/x/y/b", True),
        ("/{home,srv/{data,log}}/**", "/srv/log/x", True),
        ("/{home,srv/{data,log}}/**", "/srv/tmp/x", False),
        ("a{b", "/x/a{b", True),
        ("{a}", "/{a}", True),
        ("{a,b}{1,2}", "/b1", True),
        ("a\\{b,c\\}", "/a{b,c}", True),
        ("[[]x", "/[x", True),
        ("caf?", "/caf\U0010ffe9", True),
        ("a\nb*", "/x/a\nb\nc", True),
        ("*", "/any/thing", True),
    ],
)
def test_examples(pattern: str, path: str, matches: bool) -> None:
    assert compile_glob(pattern).matches(path) is matches


@pytest.mark.parametrize("pattern", ["", "{a,b}" * 10, "x" * 5000])
def test_monstrous_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UserError) as raised:
        compile_glob(pattern)
    assert raised.value.details["field"] == "pattern"


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "**/" * 40 + "b", "**/a*/" * 30 + "b", "/" + "?*" * 60 + "b"])
def test_no_glob_backtracks_without_bound(pattern: str) -> None:
    glob = Glob(pattern)
    paths = ["/" + "a" * 250, "/a" * 400, "/" + "/".join(["a" * 20] * 50)]
    began = time.process_time()
    for path in paths:
        glob.matches(path)
    assert time.process_time() - began < 1


def test_names_have_no_separator() -> None:
    assert name_matcher("image/*")("image/svg+xml")
    assert name_matcher("*report*.{pdf,txt}")("My REPORT.TXT")
    assert not name_matcher("report")("my report")
    assert name_matcher("a?c", ignore_case=False)("a/c")
    assert not name_matcher("abc", ignore_case=False)("ABC")
    assert has_wildcards("a*")
    assert not has_wildcards("a{b}")
