"""MosaicFS as its user runs it: real processes on an empty home, found by their own words."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = ("-c", "from mosaicfs_core.cli.main import main; main()")
READY_S = 60.0


class Up:
    """A running ``mosaicfs up``."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
        )
        self.facts: dict[str, Any] = {}
        self.errors = b""

    def wait_ready(self) -> dict[str, Any]:
        """Read the line that says it is ready."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], READY_S)
        line = self.process.stdout.readline() if readable else b""
        if not line:
            self.process.kill()
            raise AssertionError(f"it did not get ready: {self.process.communicate()[1].decode()[-3000:]}")
        self.facts = json.loads(line)
        return self.facts

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, self.errors = self.process.communicate(timeout=60)
        return self.process.returncode


class Machine:
    """An empty home and a small tree, and the ways to use them. ``python`` has MosaicFS installed."""

    def __init__(self, path: Path, python: Path = Path(sys.executable)) -> None:
        self.program = [str(python), *PROGRAM, "--json", "--home", str(path / "home")]
        self.home = path / "home"
        self.tree = path / "tree"
        self.mount = path / "mount"
        self.environment = {**os.environ, "HOME": str(path), "XDG_CONFIG_HOME": str(path / "config")}
        self.environment.pop("MOSAICFS_HOME", None)
        self.started: list[Up] = []
        (self.tree / "Work" / "2025").mkdir(parents=True)
        (self.tree / "Work" / "2025" / "report.txt").write_text("the report\n")
        (self.tree / "Work" / "notes.md").write_text("# notes\n")
        (self.tree / "picture.png").write_bytes(bytes(range(256)) * 40)

    def up(self, *arguments: str) -> Up:
        """Start it; not ready yet."""
        started = Up([*self.program, "up", "--port", "0", *arguments], self.environment)
        self.started.append(started)
        return started

    def run(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with ``--json``; its decoded output, or its error when it ends with another code than 0."""
        command = [*self.program, *arguments]
        done = subprocess.run(command, capture_output=True, env=self.environment, timeout=120, check=False)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        text = done.stdout if code == 0 else done.stderr.splitlines()[-1]
        return json.loads(text) if text.strip() else None

    def http(
        self, url: str, *, token: str | None = None, body: Any = None, method: str | None = None, **headers: str
    ) -> Any:
        """An HTTP exchange with a plain client: status, headers, body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def file(self, path: Path) -> dict[str, Any]:
        """An indexed file by its path."""
        found: dict[str, Any] = self.run("files", "stat", str(path))
        return found


def eventually(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true answer of ``check``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        found = check()
        if found:
            return found
        now = time.monotonic()
        assert now < deadline, "it did not become true in time"
        # A look that starts a program takes a processor from those that it waits for: they have it for as long.
        time.sleep(max(0.05, now - begun))


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """``eventually(check, seconds)``."""
    return eventually


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """``make_machine(python)``: an empty home and a small tree; what was started on it is ended."""
    machines: list[Machine] = []

    def make(python: Path = Path(sys.executable)) -> Machine:
        machines.append(Machine(tmp_path, python))
        return machines[-1]

    yield make
    for made in machines:
        for started in made.started:
            if started.process.poll() is None:
                started.end(signal.SIGKILL)
        for mount in (made.mount, made.home / "mnt"):
            if str(mount) in Path("/proc/self/mountinfo").read_text():
                subprocess.run(["fusermount3", "-uz", str(mount)], check=False, capture_output=True)


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    """An empty home and a small tree, used with the MosaicFS of this environment."""
    return make_machine()
