"""Protects an agent from a watched folder that no system can have, however it came into the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.content import watch_roots
from mosaicfs_core.content.watchable import why_not_watchable
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.settings import SettingsSchema
from mosaicfs_plugins.localfs import SETTINGS

IMPOSSIBLE = ["/a\0b", "/a\ud800b", "~/\0"]


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_it_is_said_to_be_no_folder(text: str, tmp_path: Path) -> None:
    expected = "not UTF-8" if "\ud800" in text else "NUL"
    assert expected in (why_not_watchable(text, Home(tmp_path)) or "")


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_it_is_no_root(text: str) -> None:
    document = {"node_id": "here", "watches": "paths", "settings": {"paths": ["/b", text, "/c"]}}
    assert watch_roots([document], "here") == ("/b", "/c")


def test_it_is_refused_among_the_settings() -> None:
    schema = SettingsSchema("localfs", SETTINGS)
    wrong = schema.errors({"paths": ["/a", "/b\nc", "~", "/é/\U0001f600", "relative", *IMPOSSIBLE]})
    assert sorted(error.field for error in wrong) == ["paths.4", "paths.5", "paths.6", "paths.7"]


@pytest.mark.logs("settings")
async def test_an_agent_with_such_a_setting_starts(node: Any, write: Any) -> None:
    write(node.tree, {"file": "1"})
    await node.configure(paths=[str(node.tree), "/a\0b"])
    await node.start()
    assert "paths.1" in str(node.agent.status())


@pytest.mark.logs("settings")
async def test_an_agent_that_is_given_one_goes_on(node: Any, write: Any) -> None:
    write(node.tree, {"file": "1"})
    await node.configure()
    await node.start()
    await node.configure(paths=[str(node.tree), "/a\0b"])
    await node.settled(lambda: "paths.1" in str(node.agent.status()))
    await node.configure(watch=True)
    (node.tree / "new").write_text("x")
    await node.settled(node.agrees)
