"""Protects ignore rules: they mean what the same lines mean in a ``.gitignore``."""

from __future__ import annotations

import random
import re
import time

import pytest

from mosaicfs_plugins.localfs.ignore import ignoring_rule, parse_rules


@pytest.mark.parametrize(
    ("pattern", "path", "directory", "ignored"),
    [
        ("*.tmp", "/r/a.tmp", False, True),
        ("*.tmp", "/r/deep/er/a.tmp", False, True),
        ("*.tmp", "/r/a.tmpx", False, False),
        ("cache/", "/r/x/cache", True, True),
        ("cache/", "/r/x/cache", False, False),
        ("/top", "/r/top", False, True),
        ("/top", "/r/x/top", False, False),
        ("doc/*.txt", "/r/doc/a.txt", False, True),
        ("doc/*.txt", "/r/doc/sub/a.txt", False, False),
        ("doc/**/a.txt", "/r/doc/x/y/a.txt", False, True),
        ("doc/**/a.txt", "/r/doc/a.txt", False, True),
        ("**/logs", "/r/a/logs", True, True),
        ("a?c", "/r/abc", False, True),
        ("[ab].x", "/r/b.x", False, True),
        ("[!ab].x", "/r/c.x", False, True),
        ("[!ab].x", "/r/a.x", False, False),
        ("\\#real", "/r/#real", False, True),
        ("# comment", "/r/# comment", False, False),
        ("[unclosed", "/r/[unclosed", False, True),
        ("new\\?", "/r/new?", False, True),
        ("a*b*c", "/r/abxbc", False, True),
        ("a*b*c", "/r/abxbcd", False, False),
        ("*.tar.*", "/r/x.tar.tar.gz", False, True),
        ("a*b/c*d", "/r/axb/cxxd", False, True),
        ("a*b/c*d", "/r/ax/b/cxd", False, False),
        ("a**b*c", "/r/axbbc", False, True),
        ("x/a**b", "/r/x/a/b", False, False),
        ("x/**/y*z/**/w", "/r/x/1/yz/y/yaz/2/w", False, True),
        ("x/**/y*z/**/w", "/r/x/1/yz/y/yaz/2/v", False, False),
        ("x/**", "/r/x/deep/er", False, True),
        ("*", "/r/anything", False, True),
        ("**", "/r/x/anything", False, True),
    ],
)
def test_one_pattern(pattern: str, path: str, directory: bool, ignored: bool) -> None:
    parent, _, name = path.rpartition("/")
    rule = ignoring_rule(parse_rules(pattern, "/r", "/r/.mosaicfsignore"), parent, name, directory)
    assert (rule is not None) is ignored


def test_the_last_rule_that_matches_decides() -> None:
    rules = parse_rules("*.log\n!keep.log\n", "/r", "f")
    assert ignoring_rule(rules, "/r", "other.log", False) is not None
    assert ignoring_rule(rules, "/r", "keep.log", False) is None


def test_rules_are_relative_to_their_own_directory() -> None:
    rules = parse_rules("/only", "/r/sub", "f")
    assert ignoring_rule(rules, "/r/sub", "only", False) is not None
    assert ignoring_rule(rules, "/r/sub/deeper", "only", False) is None


@pytest.mark.parametrize(
    "pattern", ["*a" * 20 + "*b", "**a" * 20 + "**b", "**/a*" * 20 + "/b", "*" * 1000 + "b", "x/" + "*a" * 400 + "b"]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    rules = parse_rules(pattern, "/r", "f")
    assert len(rules) == 1
    begun = time.process_time()
    assert ignoring_rule(rules, "/r/x/" + "a/" * 300 + "a" * 200, "a" * 200, False) is None
    assert time.process_time() - begun < 1.0


@pytest.mark.logs("is passed over$")
def test_monstrous_patterns_and_files_are_passed_over() -> None:
    assert parse_rules("x" * 1025, "/r", "f") == ()
    assert len(parse_rules("x\n" * 5000, "/r", "f")) == 1000


@pytest.mark.parametrize("seed", range(20))
def test_patterns_mean_what_a_plain_translation_means(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        pattern = "".join(
            chance.choice(["a", "b", "*", "***", "/", "?", "/**/", "**/", "/**", "[ab]"])
            for _ in range(chance.randint(1, 7))
        )
        plain = pattern.rstrip("/").lstrip("/")
        if not plain or not (rules := parse_rules(pattern, "/r", "f")):
            continue
        expression = re.sub(r"((?:^|(?<=/))\*\*(?:/|$))|\*+|\?", _plain, plain)
        if "/" not in pattern.rstrip("/"):
            expression = "(?:.*/)?" + expression
        for _ in range(30):
            path = "/".join("".join(chance.choices("ab", k=chance.randint(1, 3))) for _ in range(chance.randint(1, 4)))
            directory, _, name = f"/r/{path}".rpartition("/")
            found = ignoring_rule(rules, directory, name, is_directory=True)
            assert (found is not None) == (re.fullmatch(expression, path) is not None), (pattern, path)


def _plain(found: re.Match[str]) -> str:
    if found[1]:
        return "(?:.*/)?" if found[1] == "**/" else ".*"
    return "[^/]" if found[0] == "?" else "[^/]*"
