"""Protects ``mosaicfs plugin run``: a package as a program, for one event, question or crawl."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

START = "from mosaicfs_core.cli.start import main; main()"
MODULE = """
from collections.abc import Mapping
from mosaicfs_core.hooks import (HOOK_API, Complete, Create, Endpoint, FileQuery, Hit, Notice, PluginManifest,
                                 ResultEnvelope, hookimpl)

SCHEMA = {"type": "object", "properties": {"depth": {"type": "integer", "default": 7}}}

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Toy", description="", version="1", hook_api=HOOK_API, settings_schema=SCHEMA,
                          provides_filesystem=True, subscribed_events=("file.added",),
                          queries=(Endpoint(name="q", capability="toy"),))

@hookimpl
async def mosaicfs_file_event(context, event):
    if event.event == "file.deleted":
        return None
    if event.file.name == "ask":
        await context.find_files(FileQuery())
    print("this is no answer")
    await context.raise_notification(Notice(key="k", severity="warning", title="Look", message="here"))
    data = b"".join([part async for part in context.open_file(event.file, 1)])
    return {"bytes": data.decode(), "depth": context.config["depth"], "me": context.instance,
            "node": context.node_id, "state": str(context.state_dir),
            "path": str(await context.local_path(event.file))}

@hookimpl
async def mosaicfs_query(context, request):
    return ResultEnvelope(results=(Hit(file_id="n.u", data={"asked": request.query}),))

@hookimpl
async def mosaicfs_crawl(context, request):
    yield [Create(export_path="/toy/a", size=1, mtime=2), Create(export_path="/toy/b", size=1, mtime=2)]
    yield Complete(prefix="/toy")
"""


class Toy:
    """A module that is importable and no plugin of this environment, and runs of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "toy_plugin.py").write_text(MODULE)
        self.file = path / "file"
        self.file.write_text("content")

    def run(self, given: Any, name: str = "toy=toy_plugin", **environment: str) -> subprocess.CompletedProcess[str]:
        text = given if isinstance(given, str) else json.dumps(given)
        return subprocess.run(
            [sys.executable, "-c", START, "plugin", "run", name],
            input=text,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.path), "PYTHONPATH": str(self.path), **environment},
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def event(self, event: str = "file.added", name: str = "file") -> dict[str, Any]:
        payload = {"file_id": "n.u", "node_id": "n", "export_path": str(self.file), "name": name, "size": 7}
        payload |= {"mtime": "2026-01-15T14:30:00.000000Z", "inode": 1001, "local_path": str(self.file)}
        return {"event": event, "sequence": 4, "timestamp": "2026-01-15T14:30:00Z", "node_id": "n", "payload": payload}


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def test_an_event_is_answered_with_the_annotation(toy: Toy) -> None:
    done = toy.run(toy.event(), MOSAICFS_PLUGIN="mine")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer == {
        "bytes": "ontent",
        "depth": 7,
        "me": "mine",
        "node": "n",
        "state": str(toy.path),
        "path": str(toy.file),
    }
    assert set(done.stderr.splitlines()) == {"WARNING mosaicfs.plugins.mine: Look: here", "this is no answer"}
    assert json.loads(toy.run({**toy.event(), "config": {"depth": 1}}).stdout)["depth"] == 1
    nothing = toy.run(toy.event("file.deleted"))
    assert (nothing.returncode, nothing.stdout) == (0, "{}")


def test_a_state_directory_of_its_own_without_a_host(toy: Toy) -> None:
    answer = json.loads(toy.run(toy.event()).stdout)
    assert answer["me"] == "toy"
    assert answer["state"] != str(toy.path)
    assert not Path(answer["state"]).exists()


def test_a_question_and_a_crawl(toy: Toy) -> None:
    asked = {"event": "query", "capability": "toy", "endpoint": "q", "query": "what", "limit": 3, "config": {}}
    answer = json.loads(toy.run(asked).stdout)
    assert answer["results"] == [{"file_id": "n.u", "data": {"asked": "what"}}]
    crawl = {"event": "crawl_requested", "timestamp": "t", "node_id": "n", "payload": {"trigger": "manual"}}
    lines = [json.loads(line) for line in toy.run(crawl).stdout.splitlines()]
    assert [line["action"] for line in lines] == ["create", "create", "complete"]


def test_what_is_wrong_is_said_in_one_line(toy: Toy) -> None:
    toy_gone = toy.event()
    toy_gone["payload"]["local_path"] = "/nosuch"
    for given, says in (
        ("{", "standard input is no JSON object"),
        ("[]", "standard input must be a JSON object"),
        ({"event": "other"}, "event: expected one of file.added"),
        ({"event": "file.added"}, "standard input: Object missing required field"),
        ({"event": "query"}, "standard input: Object missing required field"),
        (toy.event(name="ask"), "toy: mosaicfs_file_event failed: find_files: a program that is run for one event has"),
        (toy_gone, "/nosuch cannot be read: No such file or directory"),
    ):
        done = toy.run(given)
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr.splitlines()[-1], done.stderr
    assert "no plugin nosuch is installed" in toy.run(toy.event(), "nosuch").stderr
    assert toy.run(toy.event(), "search").stderr == "mosaicfs: plugin search has no working mosaicfs_file_event\n"


def test_the_whole_command_line_does_the_same(toy: Toy) -> None:
    command = [sys.executable, "-c", START, "--json", "plugin", "run", "nosuch"]
    done = subprocess.run(command, input="{}", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["message"] == "no plugin nosuch is installed"
