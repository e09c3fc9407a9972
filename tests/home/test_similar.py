"""What a name may have been meant to be: a slip or a beginning, and nothing that only shares some letters."""

from __future__ import annotations

import pytest

from mosaicfs_core.similar import similar

PLUGINS = ("couchdb", "external", "fulltext", "labels", "localfs", "pins", "search", "summarize", "vfs")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("nosuch", []),
        ("localf", ["localfs"]),
        ("serach", ["search"]),
        ("fultext", ["fulltext"]),
        ("full", ["fulltext"]),
        ("sum", ["summarize"]),
        ("s", []),
        ("", []),
        ("mail", []),
    ],
)
def test_what_may_be_meant(name: str, meant: list[str]) -> None:
    assert similar(name, PLUGINS) == meant


def test_of_several_the_likeliest_come_first() -> None:
    assert similar("statu", ["stats", "status", "start", "states"], 2) == ["status", "stats"]
