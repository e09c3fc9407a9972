"""What ``system health`` and ``doctor`` say of an instance that answers and does not work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from mosaicfs_core.cli.commands import doctor, system
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import Unavailable

SICK = {"status": "unhealthy", "subsystems": {"store": {"status": "unhealthy"}, "crawler": {"status": "healthy"}}}


class Sick:
    """An API whose ``health`` answers 503, as the client tells it."""

    def __init__(self, **details: Any) -> None:
        self.details = details

    def get(self, path: str, /, **params: Any) -> Any:
        """Fail."""
        raise Unavailable(f"the server answered 503 to {path}", **self.details)


def run(module: Any, api: Sick, home: Path, *words: str) -> Result:
    context = TerminalContext()
    context.home_path = home
    context.__dict__["api"] = api
    group = click.Group()
    module.register(group, context)
    return CliRunner().invoke(group, words)


def test_health_shows_what_is_unhealthy(tmp_path: Path) -> None:
    result = run(system, Sick(answer=SICK), tmp_path, "system", "health")
    assert result.exit_code == 1
    assert "The instance is unhealthy." in result.output
    assert "crawler" in result.output


def test_health_raises_what_is_no_answer_of_it(tmp_path: Path) -> None:
    result = run(system, Sick(), tmp_path, "system", "health")
    assert isinstance(result.exception, Unavailable)


def test_doctor_says_once_how_to_start_what_is_stopped(tmp_path: Path) -> None:
    context = TerminalContext()
    context.home_path = tmp_path
    (found,) = doctor._instance_findings(context)
    said = ("warning", f"nothing runs with the home {tmp_path}", "start it: mosaicfs up")
    assert (found.status, found.detail, found.mend) == said


@pytest.mark.parametrize(
    ("details", "said"), [({"answer": SICK}, "cannot use its replica"), ({}, "the server answered 503")]
)
def test_doctor_fails_an_instance_that_does_not_work(details: dict[str, Any], said: str, tmp_path: Path) -> None:
    context: Any = SimpleNamespace(api=Sick(**details), home=SimpleNamespace(log_dir=tmp_path / "logs"))
    (found,) = doctor._instance_findings(context)
    assert found.status == "failed"
    assert said in found.detail
    assert str(tmp_path / "logs") in found.mend


class Unmounted:
    """An instance that runs and whose mount does not."""

    def get(self, path: str, /, **params: Any) -> Any:
        """Answer what ``doctor`` asks."""
        answers: dict[str, Any] = {
            "health": {"status": "degraded", "subsystems": {}},
            "system/info": {"version": "1", "node_id": "node-a", "documents": {"file": 1}, "plugins": {}},
            "nodes/node-a/status": {"subsystems": {"vfs_mount": {"status": "degraded", "detail": "no FUSE here"}}},
        }
        return answers[path]


def test_doctor_names_a_mount_that_is_not_there(tmp_path: Path) -> None:
    context: Any = SimpleNamespace(api=Unmounted(), home=SimpleNamespace(log_dir=tmp_path))
    findings = doctor._instance_findings(context)
    assert ("vfs_mount", "warning", "no FUSE here") in [finding[:3] for finding in findings]
