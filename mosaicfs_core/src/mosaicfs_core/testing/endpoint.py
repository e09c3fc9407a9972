"""A replica behind its endpoint, in a process of its own: ``python -m mosaicfs_core.testing.endpoint HOME``.

It prints one line of JSON, ``{"url", "token"}``, once it takes requests, and ends with its standard input. ``running``
starts it and waits for that line. No plugins are loaded and nothing is indexed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mosaicfs_core.config import ServerConfig
from mosaicfs_core.replication import HttpPeer
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.serve import bind, serving
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.testing.harness import Harness


class Endpoint:
    """A running process: ``url`` and ``token`` reach it, ``process`` can be killed."""

    def __init__(self, process: subprocess.Popen[str], url: str, token: str) -> None:
        self.process, self.url, self.token = process, url, token

    def peer(self) -> HttpPeer:
        """The replica as a side of a replication, with every right."""
        requests = PlainRequests(self.url, {"Authorization": f"Bearer {self.token}"})
        return HttpPeer(requests, address=self.url)


@contextlib.contextmanager
def running(home: Path) -> Iterator[Endpoint]:
    """A process over ``home`` (made when it is absent), ended with the block."""
    command = [sys.executable, "-m", "mosaicfs_core.testing.endpoint", str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the endpoint over {home} ended with {process.wait()}")
        try:
            yield Endpoint(process, **json.loads(line))
        finally:
            process.stdin.close()


async def _serve(home: Path) -> None:
    listener = bind(ServerConfig(port=0))
    async with (
        Harness.start(home, only=()) as harness,
        running_app(harness.core) as app,
        serving(app, listener, harness.home) as url,
    ):
        state: ServerState = app.extensions[EXTENSION]
        print(json.dumps({"url": url, "token": state.local_token}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
