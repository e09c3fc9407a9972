"""A real ``mosaicfs up`` to measure, in a home of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 600.0


class Instance:
    """A running instance. ``request`` speaks to its API with the machine's local token."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process
        self.url = json.loads((home / "run" / "endpoint.json").read_text())["url"]
        self.token = (home / "run" / "local_token").read_text().strip()

    def request(self, path: str, **params: Any) -> Any:
        """GET below ``/api``; decoded JSON."""
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        request = urllib.request.Request(
            f"{self.url}/api/{path}{query}", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def send(self, path: str, body: Any) -> Any:
        """POST JSON below ``/api``; decoded JSON."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def indexed(self) -> int:
        """How many files the replica knows."""
        return int(self.request("system/info")["documents"].get("file", 0))

    def proportional_megabytes(self) -> float:
        """Proportional set size of the process, in MB."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError("this kernel does not tell the proportional set size")


def wait(condition: Any, what: str, pause: float = 0.1) -> None:
    """Poll every ``pause`` seconds until ``condition()`` is true; raises when it takes longer than a benchmark may."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"gave up waiting for {what}")
        time.sleep(pause)


@contextlib.contextmanager
def running(paths: list[Path], files: int, home: Path | None = None) -> Iterator[Instance]:
    """Start ``mosaicfs up`` over ``paths`` without a mount, wait until ``files`` are indexed, stop it at the end."""
    with contextlib.ExitStack() as stack:
        place = home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mosaicfs-bench-")))
        command = [
            sys.executable,
            "-m",
            "mosaicfs_core.cli.main",
            "--home",
            str(place),
            "up",
            "--no-mount",
            "--port",
            "0",
        ]
        endpoint = place / "run" / "endpoint.json"
        endpoint.unlink(missing_ok=True)
        process = subprocess.Popen([*command, *map(str, paths)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            wait(lambda: endpoint.exists() or process.poll() is not None, "the server to listen")
            if process.poll() is not None:
                assert process.stderr is not None
                raise RuntimeError(f"mosaicfs up ended: {process.stderr.read().decode()[-2000:]}")
            instance = Instance(place, process)
            wait(lambda: answers(instance) and instance.indexed() >= files, f"{files} files to be indexed")
            yield instance
        finally:
            process.terminate()
            process.wait(60)


def answers(instance: Instance) -> bool:
    """Whether the server takes requests yet."""
    try:
        instance.request("system/info")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True
