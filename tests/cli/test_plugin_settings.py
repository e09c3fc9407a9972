"""Protects ``mosaicfs plugin settings|set``: what words mean, keys that are wrong, secrets that stay off the line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli
from mosaicfs_core.errors import NotFound, UserError

SCHEMA = {
    "type": "object",
    "properties": {
        "host": {"type": "string", "title": "Server", "default": "localhost"},
        "port": {"type": "integer"},
        "tls": {"type": "boolean"},
        "mode": {"type": "enum", "values": ["1", "fast"]},
        "folders": {"type": "array", "items": {"type": "string"}},
        "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
        "token": {"type": "secret", "title": "Token"},
        "account": {"type": "object", "properties": {"password": {"type": "secret"}}},
    },
}


class Api:
    """A node with the instance ``mail`` and the package ``notes``; notes what is sent, refuses port 0."""

    def __init__(self) -> None:
        self.schema: dict[str, Any] | None = SCHEMA
        self.sent: list[tuple[str, str, Any]] = []

    def get(self, path: str, **params: Any) -> Any:
        if path == "nodes":
            return {"items": [{"id": "node-a", "friendly_name": "Laptop"}], "total": 1}
        if path == "nodes/node-a/plugins/mail":
            settings = {"port": 25, "token": {"set": True}}
            return {"id": "mail", "package": "post", "settings": settings, "settings_schema": self.schema}
        if path == "nodes/node-a/plugins/plain":
            return {"id": "plain", "settings": {"once": 1}}
        if path == "plugins":
            return {
                "items": [
                    {"name": "notes", "settings_schema": SCHEMA},
                    {"name": "post"},
                    {"name": "plain", "status": "ok"},
                ]
            }
        if path == "nodes/node-a/plugins":
            return {"items": [{"id": "mail"}]}
        raise NotFound(f"nothing at {path}")

    def send(self, method: str, path: str, body: Any = None) -> Any:
        if path == "nodes/node-a/rescan":
            return {"items": [{"name": "notes"}, {"name": "shout", "type": "executable"}], "changed": []}
        self.sent.append((method, path, body))
        if body["settings"].get("port") == 0:
            raise UserError("settings.port: 0 is less than 1", field="settings.port")
        return {"enabled": body.get("enabled", True), "warnings": []}

    @property
    def settings(self) -> Any:
        return self.sent[-1][2]["settings"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(TerminalContext, "api", made)
    return made


def run(*words: str, typed: str | None = None) -> Result:
    command, name, *rest = words
    return CliRunner().invoke(cli, ["plugin", command, "--node", "Laptop", name, *rest], input=typed)


def test_words_mean_what_the_schema_says(api: Api) -> None:
    words = ["host=1", "port=993", "tls=true", "mode=1", "folders=a", "folders=b=c", 'limits={"a": 1}']
    answer = run("set", "mail", *words, "--unset", "account")
    assert (answer.exit_code, answer.stdout) == (0, "mail is set\n")
    assert api.sent == [
        (
            "PATCH",
            "nodes/node-a/plugins/mail",
            {
                "settings": {
                    "host": "1",
                    "port": 993,
                    "tls": True,
                    "mode": "1",
                    "folders": ["a", "b=c"],
                    "limits": {"a": 1},
                    "account": None,
                }
            },
        )
    ]
    assert run("set", "mail", 'folders=["x", "y"]').exit_code == 0
    assert api.settings == {"folders": ["x", "y"]}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hots=x", "mail has no setting 'hots'; did you mean host?"),
        ("zzz=1", "mail has no setting 'zzz'; there are host, port, tls"),
        ("=x", "mail has no setting ''"),
        ("port=many", "port: expected integer (as JSON), got 'many'"),
        ("tls=yes", "tls: expected true or false, got 'yes'"),
        ("token=abc", "`mosaicfs plugin set mail token` asks for it"),
        ('account={"password": "abc"}', "`mosaicfs plugin set mail account` asks for it"),
        ("token", "token: no value was given"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_sent(api: Api, word: str, said: str) -> None:
    answer = run("set", "mail", "host=ok", word, typed="")
    assert answer.exit_code == 2
    assert said in answer.stderr
    assert "abc" not in answer.output
    assert api.sent == []


def test_what_the_server_refuses_is_told_with_the_way_to_see_more(api: Api) -> None:
    answer = run("set", "mail", "port=0")
    assert answer.exit_code == 2
    assert "settings.port: 0 is less than 1; `mosaicfs plugin settings mail` shows what can be set" in answer.stderr
    assert "is no list" in run("set", "mail", "port=1", "port=2").stderr
    assert "nothing to set" in run("set", "mail").stderr


def test_secrets_come_from_standard_input_a_line_each(api: Api) -> None:
    assert run("set", "mail", "token", "host=h", "account", typed='1234\n{"password": "p"}\n').exit_code == 0
    assert api.settings == {"host": "h", "token": "1234", "account": {"password": "p"}}
    api.schema = None
    assert run("set", "mail", "anything", "number=1", "text=x", typed="1234\n").exit_code == 0
    assert api.settings == {"anything": "1234", "number": 1, "text": "x"}


def test_a_plugin_without_settings_takes_none(api: Api) -> None:
    answer = run("set", "plain", "color=red")
    assert answer.exit_code == 2
    assert "plain has no settings, so there is no 'color' to set" in answer.stderr
    assert "plain has no settings" in run("set", "plain", "color", typed="red\n").stderr
    assert api.sent == []
    assert run("set", "plain", "--unset", "once").exit_code == 0  # of a time when that was not refused
    assert api.settings == {"once": None}


def test_an_instance_that_is_not_there_is_made_and_not_switched_on(api: Api) -> None:
    answer = run("set", "notes", "host=h", "--unset", "port")
    assert answer.stdout == "notes is set; `mosaicfs plugin enable notes` switches it on\n"
    assert run("set", "shout", "loud=true").exit_code == 0
    made = {"plugin_name": "notes", "plugin_type": "package", "enabled": False, "settings": {"host": "h"}}
    shout = {"plugin_name": "shout", "plugin_type": "executable", "enabled": False, "settings": {"loud": True}}
    assert api.sent == [("POST", "nodes/node-a/plugins", made), ("POST", "nodes/node-a/plugins", shout)]
    assert "did you mean notes?" in run("set", "note", "host=h").stderr


def test_settings_show_what_there_is_and_no_secret(api: Api) -> None:
    rows = {row["setting"]: row for row in json.loads(run("settings", "mail", "--json").stdout)}
    assert list(rows) == list(SCHEMA["properties"])
    assert (rows["host"]["value"], rows["port"]["value"]) == ("localhost", 25)
    assert rows["token"] == {"setting": "token", "value": "(set)", "title": "Token"}
    assert "localhost" in run("settings", "notes").stdout
