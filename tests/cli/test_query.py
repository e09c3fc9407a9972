"""What ``mosaicfs query`` says beside what was found: who did not answer, and whose answer is not whole."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli


def asked(monkeypatch: pytest.MonkeyPatch, *envelopes: dict[str, Any]) -> str:
    class Api:
        def send(self, method: str, path: str, body: Any) -> Any:
            facts = {"node_id": "node-a", "plugin_name": "fulltext", "results": []}
            omitted = [{"node_id": "node-b", "reason": "it is off"}]
            return {"results": [{**facts, **one} for one in envelopes], "omitted": omitted}

    monkeypatch.setattr(TerminalContext, "api", Api())
    return CliRunner().invoke(cli, ["query", "search", "x"]).output


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        ({}, ""),
        ({"waiting": 1}, "not whole yet: 1 file still waits for fulltext on node-a\n"),
        ({"waiting": 2490, "syncing": True}, "not whole yet: 2,490 files still wait for fulltext on node-a\n"),
        ({"syncing": True}, "not whole yet: fulltext on node-a still goes through its files\n"),
    ],
)
def test_an_answer_that_is_not_whole_says_so(
    monkeypatch: pytest.MonkeyPatch, envelope: dict[str, Any], said: str
) -> None:
    assert asked(monkeypatch, envelope) == f"Nothing found.\n{said}left out: node-b: it is off\n"


def test_a_plugin_that_was_just_switched_on_is_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No plugin answers search. One that was switched on just now does in a moment." in asked(monkeypatch)
