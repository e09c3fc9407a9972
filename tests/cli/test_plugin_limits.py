"""Protects `plugin limits`: what is limited is shown, set and taken back, the rest of a budget kept, and a wrong one is
refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli
from mosaicfs_core.errors import UserError

INSTANCE = {"id": "words", "timeout_s": 30.0, "budget": {"per_minute": 5, "hours": ["22:00-06:00"], "steps": [{}]}}


class Api:
    """An instance with limits."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Any, str | None]] = []

    def get(self, path: str, /, **params: Any) -> Any:
        assert path == "nodes"
        return {"items": [{"id": "node-a", "friendly_name": "Laptop"}], "total": 1}

    def get_with_etag(self, path: str, /) -> tuple[Any, str]:
        assert path == "nodes/node-a/plugins/words"
        return INSTANCE, '"7"'

    def send(self, method: str, path: str, /, body: Any, *, if_match: str | None = None) -> Any:
        self.sent.append((method, path, body, if_match))
        if body.get("workers") == 0:
            raise UserError("workers: 0 is less than 1", field="workers")
        return {**INSTANCE, "warnings": []}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(TerminalContext, "api", made)
    return made


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["plugin", "limits", "--node", "Laptop", "words", *words])


def test_what_holds_is_shown(api: Api) -> None:
    told = json.loads(run("--json").stdout)
    assert (told["timeout_s"], told["workers"], told["hours"], told["per_minute"]) == (30.0, None, ["22:00-06:00"], 5)
    assert "seconds that one event or crawl step may take" in run().stdout
    assert api.sent == []


def test_limits_are_set_and_the_rest_of_the_budget_stays(api: Api) -> None:
    done = run("timeout_s=1.5", "workers=4", "jobs_per_day=9", "hours=1:00", "hours=2:00", "--unset", "per_minute")
    assert (done.exit_code, done.stdout) == (0, "words is limited so from now on\n")
    budget = {"hours": ["1:00", "2:00"], "steps": [{}], "jobs_per_day": 9}
    assert api.sent == [
        ("PATCH", "nodes/node-a/plugins/words", {"timeout_s": 1.5, "workers": 4, "budget": budget}, '"7"')
    ]


def test_what_is_no_part_of_the_budget_leaves_it_alone(api: Api) -> None:
    assert run("max_attempts=2", "--unset", "timeout_s").exit_code == 0
    assert api.sent[0][2] == {"max_attempts": 2, "timeout_s": None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["timeout=3"], "words has no limit 'timeout'; did you mean timeout_s?"),
        (["hour=9:00-17:00"], "words has no limit 'hour'; did you mean hours?"),
        (["per"], "words has no limit 'per'; did you mean per_minute?"),
        (["--unset", "zzz"], "words has no limit 'zzz'; there are timeout_s, workers"),
        (["timeout_s"], "timeout_s: no value was given; --unset timeout_s takes the limit away"),
        (["timeout_s=long"], "timeout_s: expected number (as JSON), got 'long'"),
        (["workers=1", "workers=2"], "workers is given 2 times, and is no list"),
        (["workers=0"], "workers: 0 is less than 1"),
    ],
)
def test_a_wrong_one_is_refused_by_its_name(api: Api, words: list[str], said: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.stderr
