"""The other side of the kill test: a replica behind its endpoint, until it is killed. Argument: its home. It prints one
line of JSON, ``{"url", "token"}``, once it takes requests."""

import asyncio
import json
from pathlib import Path

from mosaicfs_core.config import ServerConfig
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.serve import bind, serving
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing.harness import Harness


async def main(home: str) -> None:
    listener = bind(ServerConfig(port=0))
    async with (
        Harness.start(Path(home), plugins=()) as harness,
        running_app(harness.core) as app,
        serving(app, listener, harness.home) as url,
    ):
        print(json.dumps({"url": url, "token": app.extensions[EXTENSION].local_token}), flush=True)
        await asyncio.Event().wait()
