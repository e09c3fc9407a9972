"""Protects what an agent's status says was left out: what a watcher met since the last crawl counts as well."""

from __future__ import annotations

from mosaicfs_core.agent.board import Board
from mosaicfs_core.hooks import Problem


def counts(board: Board) -> dict[str, int]:
    found: dict[str, int] = board.document([], {}, {}, {}, {}, {}, ())["subsystems"]["crawler"]["counts"]
    return found


def test_what_cannot_be_read_is_counted_as_it_is_now() -> None:
    board = Board("node-a")
    state = board.crawl_began("localfs", "startup", True, 0)
    state.report.problems = {"unreadable": 1, "symlink": 3}
    board.problem("localfs", Problem(kind="unreadable", export_path="/a"))
    board.crawl_ended("localfs", None)
    assert counts(board) == {"unreadable": 1, "symlink": 3}
    board.problem("localfs", Problem(kind="unreadable", export_path="/b"))
    assert counts(board) == {"unreadable": 2, "symlink": 3}
    for path in ("/a", "/b"):
        board.problem("localfs", Problem(kind="unreadable", export_path=path, resolved=True))
    assert counts(board) == {"symlink": 3}
