"""The child of the test of killed crawls: an agent over a home, until its first crawl is done.

Prints ``ready`` once the replica is open, and ``writing`` when the first files of this crawl are durable.
"""

from pathlib import Path

import jsonschema  # noqa: F401 - these three are imported once for all rounds

import mosaicfs_plugins.localfs.crawl
import mosaicfs_plugins.localfs.watch  # noqa: F401
from mosaicfs_core import config
from mosaicfs_core.agent import Agent
from mosaicfs_core.content import Content
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.store import Store


async def main(path: str) -> None:
    home = Home(Path(path)).prepare()
    with home.lock():
        async with await Store.open(home.replica) as store:
            host = PluginHost.discover(only={"localfs"})
            core = CoreServices(home, config.load(home.config_file, {}), store, Content([]), host, home.node_id())
            print("ready", flush=True)
            seq = store.seq
            async with Agent(core) as agent:
                async for _ in store.changes(seq, live=True, types={"file"}):
                    break
                print("writing", flush=True)
                await agent.first_crawl_done.wait()
