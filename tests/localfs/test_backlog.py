"""Protects what the status says of changes that wait to be indexed: when they are many, and not for longer."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core.agent.board import Board
from mosaicfs_plugins.localfs import backlog


class Context:
    def __init__(self) -> None:
        self.said: list[Any] = []

    async def report(self, status: str, detail: str = "", figures: Any = None) -> None:
        assert (status, detail) == ("healthy", "")
        self.said.append(figures)


async def test_many_changes_are_told_of_and_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(backlog.time, "monotonic", lambda: now)
    context: Any = Context()
    told = backlog.Backlog(context)
    for waiting in (0, 3, 99):
        await told.tell(waiting)
    assert context.said == []
    for waiting in (20_000, 19_000):
        await told.tell(waiting)
    now += backlog.TELL_EVERY_S
    for waiting in (18_000, 50, 0):
        await told.tell(waiting)
    assert context.said == [{"waiting": 20_000}, {"waiting": 18_000}, None]


@pytest.mark.parametrize(
    ("figures", "said"), [({"waiting": 18_000}, "18,000 changes wait to be indexed"), ({}, ""), ({"waiting": "x"}, "")]
)
def test_the_status_shows_them_with_the_watchers(figures: dict[str, Any], said: str) -> None:
    board = Board("node-a")
    board.watching["localfs"] = ""
    reports = {"localfs": {"status": "healthy", "detail": "", **figures}, "other": {"waiting": 7, "status": "healthy"}}
    reports["other"]["detail"] = ""
    watcher = board.document([], {}, {}, {}, {}, reports, ())["subsystems"]["watcher"]
    assert (watcher["status"], watcher["detail"]) == ("healthy", said)
