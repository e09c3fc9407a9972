"""Protects that jobs of plugins that failed for good are seen wherever somebody looks whether all is well, with what to
do about them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.commands import doctor
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli

DETAIL = "summarize: 3 files failed, the last: exit code 1"
LISTS = "`mosaicfs plugin jobs summarize --status failed{at}` lists what failed, and why"
RETRIES = "`mosaicfs plugin retry summarize{at}` tries it again"


class Api:
    """Answers as an instance with failed jobs."""

    def __init__(self, status: str) -> None:
        failed = {"summarize": {"failed": 3, "last_error": "exit code 1", "most": status != "healthy"}}
        self.jobs = {"status": status, "detail": DETAIL, "failed": failed}

    def get(self, path: str, /, **params: Any) -> Any:
        if path == "system/info":
            return {"node_id": "n", "documents": {}, "plugins": {}, "version": "1", "started_at": "", "instance_id": ""}
        if path == "nodes":
            return {"items": [{"id": "node-b", "friendly_name": "desktop"}], "total": 1}
        if path == "health":
            return {"status": "healthy", "subsystems": {}}
        return {"overall": self.jobs["status"], "subsystems": {"jobs": self.jobs}}


@pytest.mark.parametrize(("words", "at"), [(["status"], ""), (["nodes", "status", "desktop"], " --node desktop")])
def test_a_status_tells_them_and_the_commands_that_show_and_retry_them(
    monkeypatch: pytest.MonkeyPatch, words: list[str], at: str
) -> None:
    monkeypatch.setattr(TerminalContext, "api", Api("healthy"))
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 0, shown.output
    assert DETAIL in shown.output
    assert f"{LISTS.format(at=at)}; {RETRIES.format(at=at)}.\n" in shown.output


@pytest.mark.parametrize(("status", "found"), [("healthy", "ok"), ("degraded", "warning")])
def test_doctor_tells_them_and_warns_of_a_plugin_that_fails(tmp_path: Path, status: str, found: str) -> None:
    context: Any = SimpleNamespace(api=Api(status), home=SimpleNamespace(log_dir=tmp_path))
    (one,) = [finding for finding in doctor._instance_findings(context) if finding.check == "jobs"]
    assert (one.status, one.detail) == (found, DETAIL)
    assert one.mend == f"{LISTS.format(at='')}; {RETRIES.format(at='')}"
