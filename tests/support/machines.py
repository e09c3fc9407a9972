"""MosaicFS on the hosts of a ``network_bed``: its processes, its command line, its mount, as their user has them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from network_bed import Host

PROGRAM = (sys.executable, "-c", "from mosaicfs_core.cli.main import main; main()")
READY_S = 90.0
SERVER_PORT = 8443


class Machine:
    """A host with a home, a folder that is indexed, and a place for the mount."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.home = host.directory / "home"
        self.tree = host.directory / "tree"
        self.mount = host.directory / "mount"
        self.tree.mkdir()
        self.key_id = ""
        self.node_id = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, clock: str | None = None) -> dict[str, Any]:
        """Start a program and read the line that says it is ready."""
        log = self.host.directory / "stderr.log"
        command = [*PROGRAM, "--json", "--home", str(self.home), *arguments]
        settings = {"MOSAICFS_AGENT_NAME": self.host.name}
        with open(log, "ab") as errors:
            self.process = self.host.start(command, clock=clock, environment=settings, stderr=errors)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], READY_S)
        line = self.process.stdout.readline() if readable else b""
        assert line, log.read_text()[-3000:]
        facts: dict[str, Any] = json.loads(line)
        return facts

    def serve(self) -> str:
        """Start the control plane; its address on the network."""
        self.start("server", "run", "--host", "0.0.0.0", "--port", str(SERVER_PORT))
        return f"https://{self.host.address}:{SERVER_PORT}"

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the process (all of its session when it is killed) and wait; its exit code."""
        assert self.process is not None
        if number == signal.SIGKILL:
            self.host.kill(self.process)
        elif self.process.poll() is None:
            # It was started through `nsenter`, which became it.
            self.process.send_signal(number)
            self.process.communicate(timeout=60)
        return int(self.process.returncode)

    def run(
        self, *arguments: str, code: int = 0, clock: str | None = None, environment: dict[str, str] | None = None
    ) -> Any:
        """Run a command; its decoded output, or its error when it ends with another code than 0."""
        command = [*PROGRAM, "--json", "--home", str(self.home), *arguments]
        done = self.host.run(command, clock=clock, environment=environment or {}, timeout=120, stdin=subprocess.DEVNULL)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        text = done.stdout if code == 0 else done.stderr.splitlines()[-1]
        return json.loads(text) if text.strip() else None

    def enrol(self, control_plane: Machine, url: str, *, code: int = 0, clock: str | None = None) -> Any:
        """Make this machine a node of a control plane, as its owner would."""
        key = control_plane.run("credentials", "create", self.host.name, "--kind", "agent")
        fingerprint = control_plane.run("system", "fingerprint")["sha256"]
        self.key_id = key["access_key_id"]
        secret = {"MOSAICFS_SECRET_KEY": key["secret_key"], "MOSAICFS_ACCESS_KEY_ID": self.key_id}
        init = ["agent", "init", url, "--ca-fingerprint", fingerprint, "--name", self.host.name]
        made = self.run(*init, environment=secret, code=code, clock=clock)
        if code == 0:
            self.node_id = made["node_id"]
        return made

    def names(self) -> set[str]:
        """The names of all files that this machine knows of."""
        return {item["name"] for item in self.run("files", "search", "*", "--limit", "500")["items"]}

    def subsystem(self, name: str) -> dict[str, Any]:
        """A part of the agent's status."""
        status: dict[str, Any] = self.run("agent", "status")["status"]["subsystems"][name]
        return status

    def seen(self, machine: Machine, *parts: str) -> Path:
        """Where this machine's mount shows a file in another machine's folder."""
        return self.mount / "machines" / machine.host.name / machine.tree.name / Path(*parts)

    def unmount(self) -> None:
        """Take away a mount that a killed process left."""
        if str(self.mount) in Path("/proc/self/mountinfo").read_text():
            subprocess.run(["fusermount3", "-uz", str(self.mount)], check=False, capture_output=True)


def eventually(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true answer of ``check``; an error of the file system counts as not yet. Fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        begun = time.monotonic()
        try:
            last = check()
        except OSError as error:
            last = None if isinstance(error, FileNotFoundError) else error
        if last and not isinstance(last, OSError):
            return last
        now = time.monotonic()
        assert now < deadline, f"it did not become true in time: {last!r}"
        # A look that starts a program takes a processor from those that it waits for: they have it for as long.
        time.sleep(max(0.05, now - begun))


def read_at(path: Path, offset: int, length: int) -> bytes:
    """Bytes of a file in the middle of it, as a player that seeks reads them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)
