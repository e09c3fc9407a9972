"""What ``mosaicfs query`` says beside what was found: who did not answer, and whose answer is not whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli

OFF = {"node_id": "node-b", "reason": "it is off"}


def asked(
    monkeypatch: pytest.MonkeyPatch,
    *envelopes: dict[str, Any],
    omitted: Sequence[dict[str, Any]] = (),
    words: tuple[str, ...] = ("search", "x"),
) -> str:
    class Api:
        def send(self, method: str, path: str, body: Any) -> Any:
            facts = {"node_id": "node-a", "plugin_name": "fulltext", "results": []}
            return {"results": [{**facts, **one} for one in envelopes], "omitted": list(omitted)}

    monkeypatch.setattr(TerminalContext, "api", Api())
    return CliRunner().invoke(cli, ["query", *words]).output


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
    assert asked(monkeypatch, envelope, omitted=[OFF]) == f"Nothing found.\n{said}left out: node-b: it is off\n"


def test_a_plugin_that_was_just_switched_on_is_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No plugin answers search. One that was switched on just now does in a moment." in asked(monkeypatch)


def test_figures_of_a_plugin_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"status": "healthy", "data": {"documents": 12_000, "size_bytes": 2_000_000, "failed_files": []}}
    widget = {"plugin_name": "fulltext", "description": "State of the index.", "data": data}
    shown = asked(monkeypatch, widget, words=("dashboard_widget",))
    assert [line.rstrip() for line in shown.splitlines()[:5]] == [
        "fulltext on node-a: State of the index.",
        "status             healthy",
        "data.documents     12,000",
        "data.size bytes    2.0 MB",
        "data.failed files",
    ]


def test_names_in_an_answer_do_not_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"na\x1b[2Jme": 1}
    shown = asked(monkeypatch, {"data": data}, words=("dashboard_widget",))
    shown += asked(monkeypatch, {"results": [{"data": data}]}, words=("synonyms", "oak"))
    assert "\x1b" not in shown
    assert shown.count("\\x1b[2Jme") == 2


def test_results_of_any_shape_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = [{"data": {"word": "oak", "near": {"elm": 0.5}}}, {"data": {"text": "y" * 5_000}}]
    shown = asked(monkeypatch, {"results": hits, "data": {"known": 7}}, words=("synonyms", "oak")).splitlines()
    assert shown[0].split() == ["node", "plugin", "text"]
    assert shown[1].split(maxsplit=2) == ["node-a", "fulltext", "word: oak, near.elm: 0.5"]
    assert shown[2].endswith("…")
    assert len(shown[2]) < 300
    assert shown[3:5] == ["fulltext on node-a", "known  7"]


def test_a_search_wants_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "search needs a TEXT" in asked(monkeypatch, {}, words=("search",))


def test_an_instance_that_is_down_is_named_with_since_when_and_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {"node_id": "node-b", "plugin_name": "fulltext", "reason": "it does not work at present: it ended"}
    said = "left out: fulltext on node-b: it does not work at present: it ended"
    assert asked(monkeypatch, omitted=[lost]) == f"Nobody answered.\n{said}\n"
    shown = asked(monkeypatch, {}, omitted=[{**lost, "since": "2026-01-15T14:02:00.000000Z"}])
    assert shown.startswith(f"Nothing found.\n{said} (since 2026-01-1")
    assert shown.endswith("; `mosaicfs nodes status node-b` shows how it is)\n")
