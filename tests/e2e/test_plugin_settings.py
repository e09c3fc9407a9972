"""Protects that a plugin is told its settings from the command line, and that no secret is ever shown or left about."""

from __future__ import annotations

import subprocess
from typing import Any


def test_settings_before_and_after_a_plugin_is_switched_on(machine: Any) -> None:
    machine.up("--no-mount", str(machine.tree)).wait_ready()

    def typed(secret: str, *words: str) -> None:
        line = [*machine.program, "plugin", "set", "summarize", *words]
        subprocess.run(line, input=secret.encode(), env=machine.environment, timeout=60, check=True)

    def shown() -> dict[str, Any]:
        return {row["setting"]: row["value"] for row in machine.run("plugin", "settings", "summarize")}

    assert shown()["max_sentences"] == 5
    typed("top secret\n", "api_key", "max_sentences=3", "languages=en", "languages=de")
    assert (shown()["api_key"], shown()["max_sentences"], shown()["languages"]) == ("(set)", 3, ["en", "de"])
    assert machine.run("plugin", "enable", "summarize")["enabled"]
    wrong = machine.run("plugin", "set", "summarize", "max_sentences=99", code=2)["error"]["message"]
    assert wrong.startswith("settings.max_sentences: 99 is greater than the maximum of 20; `mosaicfs plugin settings")
    machine.run("plugin", "set", "summarize", "--unset", "max_sentences", "--unset", "api_key")
    assert (shown()["api_key"], shown()["max_sentences"]) == (None, 5)
    unknown = machine.run("plugin", "set", "agent", "nothing=1", code=2)["error"]["message"]
    assert unknown.startswith("agent has no setting 'nothing'")
    assert machine.started[-1].end() == 0
