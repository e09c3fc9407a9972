"""A home was copied, and both run, as real processes: the original is the machine, whoever was started first."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_many_machines import Host, enrol


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """A control plane's host, the laptop's, and one for the copy."""
    made = [Host(tmp_path / name) for name in ("nas", "laptop", "copy")]
    yield made
    for host in made:
        if host.process is not None and host.process.poll() is None:
            host.end(signal.SIGKILL)


def subsystems(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.run("agent", "status")["status"]["subsystems"]
    return found


def test_the_original_is_the_machine(hosts: list[Host], eventually: Any) -> None:
    nas, laptop, copy = hosts
    url = nas.start("server", "run", "--port", "0")["url"]
    node_id = enrol(laptop, nas, url)
    (laptop.tree / "first.txt").write_text("first")
    laptop.start("agent", "run", str(laptop.tree))
    eventually(lambda: nas.names() == ["first.txt"])
    assert laptop.end() == 0
    shutil.copytree(laptop.home, copy.home)

    # Alone it is the machine: a home may be restored at another place.
    copy.start("agent", "run")
    eventually(lambda: subsystems(copy)["link"]["connected"])
    laptop.start("agent", "run")
    eventually(lambda: subsystems(laptop)["link"]["connected"])
    eventually(lambda: "another machine runs as this node" in subsystems(copy)["link"]["detail"], 60)
    assert subsystems(copy)["link"]["connected"] is False
    eventually(lambda: "Stop one of them" in subsystems(copy)["replication"]["detail"], 60)
    (laptop.tree / "mine.txt").write_text("mine")
    eventually(lambda: "mine.txt" in nas.names())
    assert subsystems(laptop)["link"]["connected"]
    assert nas.run("nodes", "status", node_id)["double"] == "127.0.0.1"
    assert "two machines run as" in (nas.home / "logs" / "mosaicfs.log").read_text()

    # The copy is to stay: the other is stopped, and the control plane told so.
    assert laptop.end() == 0
    assert copy.end() == 0
    copy.run("agent", "init", url)
    copy.start("agent", "run")
    eventually(lambda: subsystems(copy)["link"]["connected"])
    assert copy.end() == 0
