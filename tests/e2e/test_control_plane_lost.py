"""The control plane is lost, as real processes: made anew, restored from a copy, before and after a machine joined. The
machine keeps its folders, its settings and its files, says what happened, and one command mends it."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_many_machines import Host, enrol

CURE = "a new key and `mosaicfs agent init` enrol it again"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """A control plane's host and one other."""
    made = [Host(tmp_path / name) for name in ("nas", "laptop")]
    yield made
    for host in made:
        if host.process is not None and host.process.poll() is None:
            host.end(signal.SIGKILL)


class Lost:
    """The two of them, a copy of the NAS's home, and what the laptop had before."""

    def __init__(self, nas: Host, laptop: Host, eventually: Any) -> None:
        self.nas, self.laptop, self.eventually = nas, laptop, eventually
        self.more = laptop.home.parent / "more"
        self.more.mkdir()
        (laptop.tree / "essay.txt").write_text("an essay")
        (self.more / "letter.txt").write_text("a letter")
        self.port, self.node_id = "0", ""
        self.before: dict[str, str] = {}
        self.serve()

    def serve(self) -> None:
        self.url = str(self.nas.start("server", "run", "--port", self.port)["url"])
        self.port = self.url.rpartition(":")[2]

    def copy(self) -> None:
        assert self.nas.end() == 0
        shutil.copytree(self.nas.home, self.nas.home.parent / "copy")
        self.serve()

    def join(self) -> None:
        self.node_id = enrol(self.laptop, self.nas, self.url)
        self.laptop.start("agent", "run", str(self.laptop.tree))
        self.eventually(lambda: self.nas.names() == ["essay.txt"])
        self.nas.run("plugin", "set", "--node", self.node_id, "localfs", 'ignore=["*.tmp"]')

    def add(self) -> None:
        """A further folder, and a label; the ids of all files."""
        self.nas.run("folders", "add", "--node", self.node_id, str(self.more))
        for host in (self.nas, self.laptop):
            self.eventually(lambda host=host: host.names() == ["essay.txt", "letter.txt"])
        self.before = self.ids(self.laptop)
        self.nas.run("labels", "add", self.before["essay.txt"], "holiday")
        self.eventually(lambda: self.labelled(self.laptop))

    def labelled(self, host: Host) -> bool:
        return "holiday" in json.dumps(host.run("labels", "show", self.before["essay.txt"]))

    def lose(self, *, copy: bool) -> None:
        assert self.nas.end() == 0
        if copy:
            shutil.rmtree(self.nas.home)
            shutil.copytree(self.nas.home.parent / "copy", self.nas.home)
        else:
            for file in self.nas.home.glob("replica.db*"):
                file.unlink()
        self.serve()

    @staticmethod
    def ids(host: Host) -> dict[str, str]:
        return {one["name"]: one["id"] for one in host.run("files", "search", "*.txt")["items"]}

    def parts(self) -> dict[str, Any]:
        status: dict[str, Any] = self.laptop.run("agent", "status")["status"]
        return dict(status["subsystems"])

    def enrol_again(self) -> None:
        """What the laptop says to do, and then it."""
        self.eventually(lambda: CURE in self.parts()["replication"]["detail"])
        self.eventually(lambda: CURE in self.parts()["link"]["detail"])
        found = {one["check"]: one for one in self.laptop.run("doctor")}
        for part in ("replication", "link"):
            assert "does not know" in found[part]["detail"]
            assert "agent init" in found[part]["mend"]
        assert self.ids(self.laptop) == self.before
        assert self.laptop.end() == 0
        assert enrol(self.laptop, self.nas, self.url) == self.node_id
        self.laptop.start("agent", "run")

    def mended(self, *told: str) -> None:
        """Everything is as it was, also after a restart."""
        folders = {str(self.laptop.tree), str(self.more)}
        for again in (False, True):
            if again:
                assert self.laptop.end() == 0
                self.laptop.start("agent", "run")
            self.eventually(lambda: all(one in self.parts()["replication"]["recovered"] for one in told))
            self.eventually(lambda: self.parts()["replication"]["state"] == "live")
            assert self.parts()["replication"]["refused"] == 0
            assert self.laptop.run("agent", "status")["status"]["overall"] == "healthy"
            assert {one["folder"] for one in self.laptop.run("folders", "list")} == folders
            for host in (self.nas, self.laptop):
                self.eventually(lambda host=host: self.ids(host) == self.before)
                self.eventually(lambda host=host: self.labelled(host))
        rows = self.nas.run("plugin", "settings", "--node", self.node_id, "localfs")
        settings = {row["setting"]: row["value"] for row in rows}
        assert (settings["ignore"], set(settings["paths"])) == (["*.tmp"], folders)
        # It is not a stranger either: what is changed there takes effect here.
        self.nas.run("folders", "remove", "--node", self.node_id, str(self.more))
        self.eventually(lambda: self.laptop.names() == ["essay.txt"])
        log = (self.laptop.home / "logs" / "mosaicfs.log").read_text()
        said = [json.loads(line)["message"] for line in log.splitlines()]
        assert any(all(one in message for one in told) for message in said)


def directories(host: Host) -> list[str]:
    """The names at the top of the tree."""
    return [one["name"] for one in host.run("vfs", "ls", "/")["items"]]


def test_a_replica_made_anew(hosts: list[Host], eventually: Any) -> None:
    lost = Lost(*hosts, eventually)
    lost.join()
    lost.add()
    lost.nas.run("vfs", "mkdir", "/Trips")
    eventually(lambda: "Trips" in directories(lost.laptop))
    lost.lose(copy=False)
    lost.enrol_again()
    eventually(lambda: "Trips" not in directories(lost.laptop))
    (kept,) = lost.laptop.home.glob("forgotten-*.json")
    assert str(kept) in lost.parts()["replication"]["recovered"]
    token = (lost.nas.home / "run" / "local_token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{lost.url}/db/mosaicfs/_bulk_docs", kept.read_bytes(), headers)
    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert json.loads(answer.read()) == []
    for host in hosts:
        eventually(lambda host=host: "Trips" in directories(host))
    lost.mended("it took the settings of this machine back", "localfs")


def test_a_copy_from_after_the_machine_joined(hosts: list[Host], eventually: Any) -> None:
    lost = Lost(*hosts, eventually)
    lost.join()
    lost.copy()
    lost.add()
    lost.lose(copy=True)
    lost.mended(f"it was told of the folders {lost.more}")


def test_a_copy_from_before_the_machine_joined(hosts: list[Host], eventually: Any) -> None:
    lost = Lost(*hosts, eventually)
    lost.copy()
    lost.join()
    lost.add()
    lost.lose(copy=True)
    lost.enrol_again()
    lost.mended("it took the settings of this machine back", "localfs")
