"""``agent status``, ``status`` and ``nodes status`` say why a machine is not well, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli

OFF = "the clock here is 3 min 0 s ahead of the control plane's; beyond 5 minutes it refuses what is asked of it"
LINK = {"status": "degraded", "detail": OFF, "connected": True, "clock_off_s": 180, "control_plane": "https://nas:6672"}
REPLICATION = {"status": "healthy", "detail": "", "state": "live", "figures": {}}
AT = "2026-02-16T09:22:00.000000Z"


class Api:
    """The API of a laptop, or of the control plane that it belongs to."""

    def __init__(self, here: str = "node-laptop", **status: Any) -> None:
        self.here = here
        self.status = {
            "node_id": "node-laptop",
            "overall": "degraded",
            "status": "online",
            "subsystems": {"link": LINK, "replication": REPLICATION, "crawler": {"status": "healthy", "detail": ""}},
            **status,
        }

    def get(self, path: str, /, **params: Any) -> Any:
        """What was asked for."""
        if path == "nodes":
            return {"items": [{"id": "node-laptop", "friendly_name": "laptop"}], "total": 1}
        if path == "nodes/node-laptop":
            return {"id": "node-laptop", "transfer": {"endpoints": ["https://192.0.2.7:6673"], "protocol": "http"}}
        if path == "nodes/node-laptop/status":
            return self.status
        assert path == "system/info"
        return {
            "node_id": self.here,
            "documents": {"file": 1},
            "plugins": {},
            "started_at": AT,
            "version": "1",
        }


def shown(monkeypatch: pytest.MonkeyPatch, api: Api, tmp_path: Path, *words: str) -> str:
    monkeypatch.setattr(TerminalContext, "api", api)
    done = CliRunner().invoke(cli, ["--home", str(tmp_path), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_agent_status_says_why_it_is_degraded_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = shown(monkeypatch, Api(), tmp_path, "agent", "status")
    mend = "set the clock of the machine that is wrong: sudo timedatectl set-ntp true"
    assert said.endswith(f"\n\nNot well\n  link: {OFF}\n    to mend it: {mend}\n")


@pytest.mark.parametrize("name", ["link", "replication"])
def test_a_clock_that_is_refused_is_to_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    part = {"status": "degraded", "detail": "401: the clock of the machine that signs with node-laptop is 10 min ahead"}
    said = shown(monkeypatch, Api(subsystems={name: part}), tmp_path, "agent", "status")
    assert said.count("timedatectl") == 1


def test_agent_status_says_nothing_more_of_one_that_is_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    well = Api(overall="healthy", subsystems={"link": {**LINK, "status": "healthy", "detail": ""}})
    assert "Not well" not in shown(monkeypatch, well, tmp_path, "agent", "status")
    assert "doctor" not in shown(monkeypatch, well, tmp_path, "status")
    assert "doctor" not in shown(monkeypatch, well, tmp_path, "nodes", "status")


def test_a_connection_that_is_not_there_says_since_when_and_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    link = {**LINK, "connected": False, "detail": "it is away", "since": AT}
    said = shown(monkeypatch, Api(subsystems={"link": link}), tmp_path, "agent", "status")
    assert " not connected since 2026-02-16 09:22:00: it is away\n" in said


def test_status_leads_to_doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for words in (["status"], ["nodes", "status"]):
        said = shown(monkeypatch, Api(), tmp_path, *words)
        assert OFF in said
        assert "\n`mosaicfs doctor` says how to mend what is not well.\n" in said


def test_of_another_machine_it_is_said_where_to_ask_when_it_reported_and_how_it_is_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    far = Api("control-plane-nas", connected=True, last_heard=AT, updated_at=AT)
    said = shown(monkeypatch, far, tmp_path, "nodes", "status", "laptop")
    assert "node-laptop: online; degraded, as it reported 2026-02-16 09:22:00\n" in said
    assert "Its link to the control plane is up. Other machines fetch from it at https://192.0.2.7:6673.\n" in said
    assert "\nOn that machine, `mosaicfs doctor` says how to mend what is not well.\n" in said
    gone = Api("control-plane-nas", status="offline", connected=False, last_heard=AT, updated_at=AT)
    said = shown(monkeypatch, gone, tmp_path, "nodes", "status", "laptop")
    assert "Its link to the control plane is down; it was heard of last 2026-02-16 09:22:00." in said
    assert "When it is there, other machines fetch from it at https://192.0.2.7:6673." in said
    revoked = Api("control-plane-nas", status="disabled", connected=False, last_heard=AT, updated_at=AT)
    assert "fetch from it" not in shown(monkeypatch, revoked, tmp_path, "nodes", "status", "laptop")


def test_an_agent_does_not_judge_another_machines_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    api = Api("node-desktop", status="unknown", overall="unknown", subsystems={})
    said = shown(monkeypatch, api, tmp_path, "nodes", "status", "laptop")
    assert said.startswith("node-laptop: unknown\n")
    assert "What it reports of itself, the control plane knows alone.\n" in said
    assert "Its link" not in said
    assert "Other machines fetch from it at https://192.0.2.7:6673." in said
