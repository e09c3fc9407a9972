"""The child of the test of killed agents: control plane and agent over a home, as ``mosaicfs up`` runs them, for ever.

Arguments: the home, and the folder to watch. Prints ``open`` once all of it runs, and ``idle`` once what there was when
the first crawl ended has been done.
"""

import asyncio
import socket
from pathlib import Path

from mosaicfs_core import config
from mosaicfs_core.agent import Agent
from mosaicfs_core.cli.runtime import running
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.store import Store

PluginHost.discover()  # imported once for all rounds


async def main(path: str, tree: str) -> None:
    home = Home(Path(path)).prepare()
    with home.lock(), socket.create_server(("127.0.0.1", 0)) as listener:
        async with running(home, config.load(home.config_file, {}), listener, paths=[tree]) as runtime:
            print("open", flush=True)
            await runtime.agent.first_crawl_done.wait()
            await until_idle(runtime.core.store, runtime.agent)
            print("idle", flush=True)
            await asyncio.Event().wait()


async def until_idle(store: Store, agent: Agent) -> None:
    while True:
        seq = store.seq
        standings = await agent.jobs.queue.standings()
        if all(one.sync is None and not one.counts.pending and not one.counts.in_flight for one in standings):
            return
        await store.wait(seq, 0.2)
