"""Protects what the command line says of what is left out: all pages of ``files excluded``, and the figures of
``status``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.commands import excluded, files, status
from mosaicfs_core.cli.frame_context import TerminalContext


class FakeApi:
    """Seven links, in pages; a status with figures. Remembers what was asked."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self.asked: list[dict[str, Any]] = []

    def get(self, address: str, /, **given: Any) -> dict[str, Any]:
        if address == "system/info":
            return {"node_id": "n", "plugins": {}, "documents": {"file": 1}, "started_at": "", "version": "1"}
        if address == "nodes/n/status":
            return {"overall": "healthy", "subsystems": {"crawler": {"status": "healthy", "counts": self._counts}}}
        assert address == "nodes/n/exclusions"
        self.asked.append(given)
        start, end = given["offset"], given["offset"] + given["limit"]
        found = [{"kind": "symlink", "export_path": f"/t/{n}", "reason": "a link", "count": 1} for n in range(7)]
        return {"items": found[start:end], "total": min(end, 7), "more": end < 7}


@pytest.fixture
def run() -> Callable[..., str]:
    """Run a command against an API; what it prints."""

    def run(api: FakeApi, *words: str, as_json: bool = False) -> str:
        context = TerminalContext()
        context.json = as_json
        context.__dict__["api"] = api
        group = click.Group()
        files.register(group, context)
        status.register(group, context)
        result = CliRunner().invoke(group, words)
        assert result.exception is None, result.output
        return str(result.output)

    return run


def test_every_page_is_shown(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excluded, "PAGE", 3)
    api = FakeApi({})
    lines = run(api, "files", "excluded").splitlines()
    assert lines[0].split() == ["kind", "path", "reason"]
    assert [line.split()[1] for line in lines[1:]] == [f"/t/{n}" for n in range(7)]
    assert [asked["offset"] for asked in api.asked] == [0, 3, 6]
    assert all("path" not in asked for asked in api.asked)
    whole = json.loads(run(api, "files", "excluded", as_json=True))
    assert (len(whole["items"]), whole["total"]) == (7, 7)
    assert whole["items"][0]["reason"] == "a link"


def test_a_path_is_asked_for_as_the_index_writes_it(run: Callable[..., str]) -> None:
    api = FakeApi({})
    run(api, "files", "excluded", "some/../folder")
    assert api.asked[0]["path"] == f"{os.getcwd()}/folder"


def test_status_counts_what_is_left_out_and_says_where_it_is_listed(run: Callable[..., str]) -> None:
    said = run(FakeApi({"symlink": 4084, "ignored": 2, "special": 1}), "status")
    assert "4,084 symbolic links, 1 special file, 2 ignored" in said
    assert "mosaicfs files excluded" in said
    none = run(FakeApi({}), "status")
    assert "left out" in none
    assert "files excluded" not in none
