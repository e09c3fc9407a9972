"""Protects ignore rules: they mean what the same lines mean in a ``.gitignore``."""

from __future__ import annotations

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
