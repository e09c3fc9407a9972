"""Protects full-text search over two machines: both answer, one that is off is named, a killed plugin is named and
comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_many_machines import Host, enrol


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """A control plane's host and two machines with files."""
    made = [Host(tmp_path / name) for name in ("nas", "laptop", "desktop")]
    yield made
    for host in made:
        if host.process is not None and host.process.poll() is None:
            host.end(signal.SIGKILL)


def found(nas: Host, text: str) -> set[str]:
    """The paths that a question finds, on whatever machine."""
    answer = nas.run("query", "search", text)
    return {hit["file"]["export_path"] for one in answer["results"] for hit in one["results"]}


def named(host: Host, text: str, node_id: str) -> dict[str, Any]:
    """The answer to a question on a machine once it says that this node's part is not in it, else nothing."""
    answer: dict[str, Any] = host.run("query", "search", text)
    return answer if [one["node_id"] for one in answer["omitted"]] == [node_id] else {}


def capabilities(nas: Host, node_id: str) -> list[str]:
    nodes = {node["id"]: node for node in nas.run("nodes", "list")["items"]}
    return list(nodes[node_id].get("capabilities", []))


def plugin_process(host: Host) -> int:
    """The process that the full-text plugin of a machine runs in."""
    home = os.fsencode(host.home)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if home in words and b"serve" in words and b"fulltext" in words:
            return int(entry.parent.name)
    raise AssertionError("the plugin has no process of its own")


def test_what_is_written_on_any_machine_is_found_and_who_cannot_answer_is_named(
    hosts: list[Host], eventually: Any
) -> None:
    nas, laptop, desktop = hosts
    essay, letter = laptop.tree / "essay.md", desktop.tree / "letter.txt"
    essay.write_text("# On otters\n\nAn essay about otters swimming in cold rivers.\n")
    letter.write_text("Dear Ada, the otter you wrote about swims no more.\n")
    url = nas.start("server", "run", "--port", "0")["url"]
    ids = {host: enrol(host, nas, url) for host in (laptop, desktop)}
    for host in (laptop, desktop):
        host.start("agent", "run", str(host.tree))
    eventually(lambda: len(nas.run("files", "search", "e")["items"]) >= 2)
    for host in (laptop, desktop):
        eventually(lambda host=host: "fulltext" in str(nas.run("nodes", "status", ids[host])))
        nas.run("plugin", "enable", "fulltext", "--node", ids[host])
    both = {str(essay), str(letter)}
    eventually(lambda: found(nas, "otters swimming") >= {str(essay)} and found(nas, "otter") == both, 60)
    (hit,) = [hit for one in nas.run("query", "search", "cold rivers")["results"] for hit in one["results"]]
    fragment = hit["fragments"][0]
    assert {fragment["text"][start:end] for start, end in fragment["highlights"]} >= {"cold", "rivers"}

    for host in (laptop, desktop):
        eventually(lambda host=host: host.run("agent", "status")["status"]["overall"] == "healthy")

    # What changes and goes is followed.
    letter.write_text("Dear Ada, the badger says hello.\n")
    eventually(lambda: found(nas, "badger") == {str(letter)} and found(nas, "otter") == {str(essay)}, 60)

    # The plugin is killed, and cannot begin anew: nobody can ask it, and whoever searches is told so on every machine.
    in_the_way = laptop.home / "run" / "isolated" / "fulltext.sock"
    in_the_way.unlink()
    in_the_way.mkdir()
    os.kill(plugin_process(laptop), signal.SIGKILL)
    eventually(lambda: "search" not in capabilities(nas, ids[laptop]), 30)
    for host in (nas, laptop, desktop):
        answer = eventually(lambda host=host: named(host, "badger", ids[laptop]), 30)
        assert [one["node_id"] for one in answer["results"]] == [ids[desktop]]
        (lost,) = answer["omitted"]
        assert (lost["node_id"], lost["plugin_name"]) == (ids[laptop], "fulltext")
        assert lost["reason"].startswith("it does not work at present: ")
        assert lost["since"]
    # Once it can it is there again.
    in_the_way.rmdir()
    eventually(lambda: "search" in capabilities(nas, ids[laptop]) and found(nas, "otter") == {str(essay)}, 60)
    assert nas.run("query", "search", "badger")["omitted"] == []

    # A machine that is off is named.
    assert laptop.end() == 0
    eventually(lambda: [one["node_id"] for one in nas.run("query", "search", "otter")["omitted"]] == [ids[laptop]], 30)
    answer = nas.run("query", "search", "badger")
    assert [one["node_id"] for one in answer["results"]] == [ids[desktop]]
    assert "not connected" in answer["omitted"][0]["reason"]
    for host in (nas, desktop):
        assert host.end() == 0
