"""Protects the commands that show what plugins said of files, and what needs attention."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli

FILE = {"id": "f", "node_id": "node-a", "export_path": "/d/a.pdf", "name": "a.pdf", "size": 1}
SAID = {
    "node_id": "node-a",
    "export_path": "/d/a.pdf",
    "plugin_name": "summarize",
    "status": "ok",
    "updated_at": "2026-02-16T09:22:00.000000Z",
    "data": {"title": "Otters", "keywords": ["river", "fish"], "summary": "word " * 60},
}
FAILED = {**SAID, "plugin_name": "tags", "status": "failed", "error": "no disk", "data": {}}


def notification(number: int, status: str = "active", node_id: str = "node-a") -> dict[str, Any]:
    return {
        "id": f"id{number}",
        "source": {"node_id": node_id, "component": "jobs"},
        "condition_key": f"full:{number}",
        "severity": "error",
        "status": status,
        "title": "Full",
        "message": "The disk has no room.",
        "last_seen": "2026-02-16T09:22:00.000000Z",
    }


class Api:
    """Notes what is asked; has two annotations, and three notifications in pages of two."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.told = [notification(1), notification(1, node_id="node-b"), notification(2), notification(3, "resolved")]
        self.told[1]["id"] = "other"

    def get(self, path: str, /, **params: Any) -> Any:
        given = {name: value for name, value in params.items() if value is not None}
        self.asked.append(("GET", path, given))
        if path == "nodes":
            return {"items": [{"id": "node-b", "friendly_name": "NAS"}], "total": 1}
        if path == "files":
            return {"items": [FILE] if params["export_path"] == "/d/a.pdf" else []}
        if path == "annotations":
            return {"items": [SAID, FAILED], "total": 2}
        assert path == "notifications"
        found = [one for one in self.told if given.get("status") in (None, one["status"])]
        return {"items": found[given["offset"] :][:2], "total": len(found)}

    def send(self, method: str, path: str, /, body: Any = None, **params: Any) -> Any:
        self.asked.append((method, path, params))
        if method == "DELETE":
            return {"deleted": 1200, "omitted": [{"node_id": "node-b", "reason": "it is off"}]}
        return {**self.told[0], "status": "acknowledged"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(TerminalContext, "api", made)
    return made


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == code, done.output
    return done


def test_a_file_is_shown_with_what_plugins_said_of_it(api: Api) -> None:
    shown = run("files", "stat", "/d/a.pdf").stdout
    assert "a.pdf" in shown
    assert "  title: Otters\n  keywords: river, fish\n" in shown
    assert "tags failed: no disk" in shown
    assert json.loads(run("files", "stat", "--json", "/d/a.pdf").stdout) == {**FILE, "annotations": [SAID, FAILED]}


def test_annotations_are_listed_in_a_line_each(api: Api) -> None:
    shown = run("annotations", "list", "/d/a.pdf", "--plugin", "summarize").stdout
    assert api.asked[-1] == (
        "GET",
        "annotations",
        {"plugin": "summarize", "node_id": "node-a", "path": "/d/a.pdf", "limit": 100},
    )
    assert "title: Otters, keywords: river, fish, summary: word" in shown
    assert "failed: no disk" in shown
    assert max(map(len, shown.splitlines())) < 160
    assert json.loads(run("annotations", "list", "--json", "--node", "NAS").stdout)["items"] == [SAID, FAILED]
    assert api.asked[-1][2] == {"node_id": "node-b", "limit": 100}


def test_annotations_are_made_anew_and_who_was_not_asked_is_named(api: Api) -> None:
    said = run("annotations", "renew", "--plugin", "summarize").stdout
    assert api.asked == [("DELETE", "annotations", {"plugin": "summarize"})]
    assert said == "1,200 taken away, to be made anew\nleft out: node-b: it is off\n"
    run("annotations", "renew", code=2)
    run("annotations", "renew", "/d/a.pdf", "--node", "NAS", code=2)


def test_what_is_over_is_listed_only_when_asked_for(api: Api) -> None:
    shown = run("notifications", "list").stdout
    assert [word for word in shown.split() if word.startswith("full:")] == ["full:1", "full:1", "full:2"]
    assert "full:3" in run("notifications", "list", "--all").stdout
    assert len(json.loads(run("notifications", "list", "--json").stdout)["items"]) == 3
    assert "\nfull:1 of node-b: The disk has no room.\n" in run("notifications", "list", "--verbose").stdout


def test_it_is_taken_note_of_by_key_or_by_id(api: Api) -> None:
    def acknowledged(*words: str) -> list[str]:
        api.asked.clear()
        run("notifications", "ack", *words)
        return [path.split("/")[1] for method, path, _ in api.asked if method == "POST"]

    assert acknowledged("full:1") == ["id1", "other"]
    assert acknowledged("full:1", "--node", "NAS") == ["other"]
    assert acknowledged("id2") == ["id2"]
    assert acknowledged("--all") == ["id1", "other", "id2"]
    assert "full:3 is not active" in run("notifications", "ack", "full:3", code=1).stderr
    run("notifications", "ack", code=2)
    run("notifications", "ack", "full:1", "--all", code=2)
