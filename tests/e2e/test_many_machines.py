"""A control plane and two agents as real processes on loopback: enrol, list, change, part, meet again, read, revoke."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = (sys.executable, "-c", "from mosaicfs_core.cli.main import main; main()")
READY_S = 60.0


class Host:
    """One machine: a home, a tree, and the processes on it."""

    def __init__(self, path: Path) -> None:
        self.home = path / "home"
        self.tree = path / "tree"
        self.tree.mkdir(parents=True)
        self.environment = {**os.environ, "HOME": str(path), "XDG_CONFIG_HOME": str(path / "config")}
        self.environment |= {"MOSAICFS_AGENT_API_PORT": "0", "MOSAICFS_AGENT_LISTEN_PORT": "0"}
        self.environment |= {"MOSAICFS_AGENT_LISTEN_HOST": "127.0.0.1", "MOSAICFS_AGENT_NAME": path.name}
        self.environment.pop("MOSAICFS_HOME", None)
        self.process: subprocess.Popen[bytes] | None = None
        self.key_id = ""

    def start(self, *arguments: str) -> dict[str, Any]:
        """Start a program and read the line that says it is ready."""
        log = open(self.home.parent / "stderr.log", "ab")  # noqa: SIM115 - the process has it
        command = [*PROGRAM, "--json", "--home", str(self.home), *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=self.environment, start_new_session=True
        )
        log.close()
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], READY_S)
        line = self.process.stdout.readline() if readable else b""
        assert line, (self.home.parent / "stderr.log").read_text()[-3000:]
        facts: dict[str, Any] = json.loads(line)
        return facts

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the process and wait for it; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return int(self.process.returncode)

    def run(self, *arguments: str, code: int = 0, environment: dict[str, str] | None = None) -> Any:
        """Run a command; its decoded output, or its error when it ends with another code than 0."""
        command = [*PROGRAM, "--json", "--home", str(self.home), *arguments]
        given = {**self.environment, **(environment or {})}
        done = subprocess.run(
            command, capture_output=True, env=given, timeout=120, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        text = done.stdout if code == 0 else done.stderr.splitlines()[-1]
        return json.loads(text) if text.strip() else None

    def names(self) -> list[str]:
        """The names of all files that this machine knows of."""
        return sorted(one["name"] for one in self.run("files", "search", "*.txt")["items"])


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """A control plane's host and two others."""
    made = [Host(tmp_path / name) for name in ("nas", "laptop", "desktop")]
    yield made
    for host in made:
        if host.process is not None and host.process.poll() is None:
            host.end(signal.SIGKILL)


def enrol(host: Host, nas: Host, url: str) -> str:
    """Make a host a node; its id."""
    key = nas.run("credentials", "create", host.home.parent.name, "--kind", "agent")
    secret = {"MOSAICFS_SECRET_KEY": key["secret_key"], "MOSAICFS_ACCESS_KEY_ID": key["access_key_id"]}
    made = host.run("agent", "init", url, environment=secret)
    host.key_id = key["access_key_id"]
    return str(made["node_id"])


def configure(nas: Host, laptop: Host, ids: dict[Host, str], eventually: Any) -> None:
    """The control plane changes what the laptop does while it runs: folders, what is ignored, cache and schedule."""
    further = laptop.home.parent / "further"
    further.mkdir()
    (further / "more.txt").write_text("more")
    (further / "draft.tmp.txt").write_text("a draft")
    nas.run("folders", "add", "--node", ids[laptop], str(further))
    eventually(lambda: {"more.txt", "draft.tmp.txt"} <= set(nas.names()))
    nas.run("plugin", "set", "--node", ids[laptop], "localfs", 'ignore=["*.tmp.txt"]')
    eventually(lambda: "draft.tmp.txt" not in nas.names())
    wanted = {"cache_max_bytes": 123_000_000, "nightly_crawl": "04:30"}
    nas.run("plugin", "set", "--node", ids[laptop], "agent", *(f"{key}={value}" for key, value in wanted.items()))
    eventually(lambda: wanted.items() <= _settings_of(laptop).items())
    nas.run("folders", "remove", "--node", ids[laptop], str(further))
    for host in (nas, laptop):
        eventually(lambda host=host: "more.txt" not in host.names())


def _settings_of(host: Host) -> dict[str, Any]:
    """The settings of a machine as it knows them itself."""
    return {row["setting"]: row["value"] for row in host.run("plugin", "settings", "agent")}


def share(nas: Host, laptop: Host, desktop: Host, ids: dict[Host, str], eventually: Any) -> None:
    """The laptop sees the desktop's folder through NFS, say: it is told so on the control plane, and opens files there.
    What stands there differs from the desktop's, in bytes alone, so that it shows where they come from."""
    mirror = laptop.home.parent / "mirror"
    mirror.mkdir()
    for tree, content in ((desktop.tree, b"by fetching"), (mirror, b"by the disk")):
        (tree / "shared.txt").write_bytes(content)
        os.utime(tree / "shared.txt", (1_700_000_000, 1_700_000_000))
    eventually(lambda: "shared.txt" in laptop.names())
    (shared,) = laptop.run("files", "search", "shared*")["items"]
    target = laptop.home.parent / "shared"
    mounts = ("nodes", "mounts")
    made = nas.run(*mounts, "add", ids[laptop], ids[desktop], str(desktop.tree), str(mirror), "--type", "nfs")
    assert nas.run(*mounts, "list", ids[laptop])["items"] == [{**made, "priority": 0}]
    edited = nas.run(*mounts, "edit", ids[laptop], made["id"], "--priority", "7")
    assert edited == {**made, "priority": 7}
    eventually(lambda: laptop.run(*mounts, "list")["items"] == [edited])
    laptop.run("files", "fetch", shared["id"], "-o", str(target))
    assert target.read_bytes() == b"by the disk"
    (mirror / "shared.txt").unlink()  # gone stale: the next way is taken
    laptop.run("files", "fetch", shared["id"], "-o", str(target), "--force")
    assert target.read_bytes() == b"by fetching"
    assert laptop.run(*mounts, "remove", ids[laptop], made["id"], code=4)["error"]["code"] == "not_allowed"
    assert nas.run(*mounts, "remove", ids[laptop], made["id"]) == {"removed": made["id"]}
    eventually(lambda: laptop.run(*mounts, "list")["items"] == [])
    (desktop.tree / "shared.txt").unlink()
    for host in (nas, laptop, desktop):
        eventually(lambda host=host: "shared.txt" not in host.names())


def rebuild(nas: Host, laptop: Host, eventually: Any) -> None:
    """The laptop's replica is deleted: it comes back with its folders and settings, and its files are who they were."""
    before = {one["name"]: one["id"] for one in nas.run("files", "search", "*.txt")["items"]}
    assert laptop.end() == 0
    for path in laptop.home.glob("replica.db*"):
        path.unlink()
    (laptop.tree / "since.txt").write_text("since")
    laptop.start("agent", "run")
    eventually(lambda: "since.txt" in nas.names())
    eventually(lambda: laptop.names() == sorted([*before, "since.txt"]))
    for host in (nas, laptop):
        found = {one["name"]: one["id"] for one in host.run("files", "search", "*.txt")["items"]}
        assert before.items() <= found.items()
    (laptop.tree / "since.txt").unlink()
    for host in (nas, laptop):
        eventually(lambda host=host: host.names() == sorted(before))


def test_three_machines_become_one_tree(hosts: list[Host], eventually: Any) -> None:
    nas, laptop, desktop = hosts
    (laptop.tree / "essay.txt").write_text("an essay")
    (desktop.tree / "film.txt").write_bytes(os.urandom(3 << 20))
    url = nas.start("server", "run", "--port", "0")["url"]
    assert nas.run("status")["info"]["node_id"].startswith("control-plane-")
    assert laptop.run("agent", "run", code=2)["error"]["message"].count("agent init") == 1
    desktop.environment["MOSAICFS_AGENT_ENDPOINTS"] = "https://127.0.0.1:9"
    ids = {host: enrol(host, nas, url) for host in (laptop, desktop)}
    for host in (laptop, desktop):
        facts = host.start("agent", "run", str(host.tree))
        assert facts["node_id"] == ids[host]
        assert host.run("up", "--no-mount", code=1)["error"]["code"] == "conflict"

    # Everybody lists everything.
    for host in hosts:
        eventually(lambda host=host: host.names() == ["essay.txt", "film.txt"])
    assert {node["id"]: node["status"] for node in nas.run("nodes", "list")["items"]}[ids[laptop]] == "online"

    # A change is seen, and bytes are read: from the other machine itself, and through the control plane where that
    # machine's address leads nowhere, as behind a router.
    (laptop.tree / "new.txt").write_text("new")
    for host in hosts:
        eventually(lambda host=host: "new.txt" in host.names())
    film = next(one for one in laptop.run("files", "search", "film*")["items"])
    for host in (laptop, nas):
        target = host.home.parent / "fetched"
        host.run("files", "fetch", film["id"], "-o", str(target))
        assert target.read_bytes() == (desktop.tree / "film.txt").read_bytes()
    essay = next(one for one in desktop.run("files", "search", "essay*")["items"])
    target = desktop.home.parent / "essay"
    desktop.run("files", "fetch", essay["id"], "-o", str(target))
    assert target.read_text() == "an essay"

    # What is the control plane's is changed there, wherever it takes effect.
    share(nas, laptop, desktop, ids, eventually)
    configure(nas, laptop, ids, eventually)
    rebuild(nas, laptop, eventually)
    assert laptop.run("nodes", "rename", ids[laptop], "Mine", code=4)["error"]["code"] == "not_allowed"
    nas.run("nodes", "rename", ids[laptop], "Mine")
    eventually(lambda: "Mine" in [node["friendly_name"] for node in desktop.run("nodes", "list")["items"]])
    (desktop.tree / "more").mkdir()
    status = laptop.run("agent", "status")["status"]
    assert status["subsystems"]["link"]["connected"] is True
    assert status["subsystems"]["replication"]["state"] in ("live", "catching_up")

    # On the train: the control plane is gone, and everything local goes on.
    assert nas.end() == 0
    (laptop.tree / "offline.txt").write_text("written on the train")
    eventually(lambda: "offline.txt" in laptop.names())
    assert "film.txt" in laptop.names()
    eventually(lambda: laptop.run("agent", "status")["status"]["subsystems"]["link"]["connected"] is False)
    assert laptop.end(signal.SIGKILL) != 0
    laptop.start("agent", "run")
    (laptop.tree / "essay.txt").unlink()
    eventually(lambda: "essay.txt" not in laptop.names())
    port = url.rpartition(":")[2]
    nas.start("server", "run", "--port", port)
    for host in (nas, desktop):
        eventually(lambda host=host: host.names() == ["film.txt", "new.txt", "offline.txt"], 60)

    # Stolen: one command, and it is told nothing any more.
    nas.run("credentials", "revoke", laptop.key_id)
    (desktop.tree / "secret.txt").write_text("secret")
    eventually(lambda: "secret.txt" in nas.names())
    eventually(lambda: laptop.run("agent", "status")["status"]["subsystems"]["link"]["connected"] is False)
    (laptop.tree / "spam.txt").write_text("spam")
    eventually(lambda: "spam.txt" in laptop.names())
    assert "spam.txt" not in nas.names()
    assert "secret.txt" not in laptop.names()
    for host in hosts:
        assert host.end() == 0
