"""Protects what `plugin jobs` says: of a sync, of one job, and of reasons that are too long for a table."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli

REASON = f"plugin words: it ended with 1: {'noise ' * 600}\nNameError: name 'x' is not defined"


class Api:
    def get(self, path: str, **params: Any) -> Any:
        if path == "nodes":
            return {"items": [{"id": "node-a", "friendly_name": "Laptop"}], "total": 1}
        job = {"event": "file.added", "export_path": "/a", "attempts": 3, "last_error": REASON}
        counts = {"pending": 0, "in_flight": 0, "failed": 1}
        return {"items": [job], "counts": counts, "sync": {"looked_at": 246, "documents": 492, "enqueued": 1}}

    def send(self, method: str, path: str, body: Any = None) -> Any:
        return {"retried": 1}


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr(TerminalContext, "api", Api())
    return CliRunner().invoke(cli, [*words, "--node", "node-a"]).stdout


def test_long_reasons_are_shortened_to_what_failed_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(monkeypatch, "plugin", "jobs", "words")
    assert "plugin words: it ended with 1: noise" in shown
    assert shown.endswith("NameError: name 'x' is not defined\n")
    assert len(shown) < 500
    assert "noise " * 600 in run(monkeypatch, "--verbose", "plugin", "jobs", "words")
    assert "noise " * 600 in run(monkeypatch, "--json", "plugin", "jobs", "words")


def test_a_sync_says_how_far_it_is_and_how_many_jobs_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "words: 0 pending, 0 in flight, 1 failed. A full sync has looked through 50 % of the index: 1 job so far."
    assert said in run(monkeypatch, "plugin", "jobs", "words")


def test_one_job_is_no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "plugin", "retry", "words") == "1 job of words will be tried again\n"
