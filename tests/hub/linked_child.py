"""A control plane's link in a process of its own: ``linked_child.py PLACE URL``. Prints what it says of its lease,
again and again, as JSON lines, until it is killed."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from mosaicfs_core.hooks import HubAddress
from mosaicfs_core.server.hub import HubLink, Timing
from mosaicfs_core.store import Store
from mosaicfs_plugins.couchdb.hub import CouchHub


async def main(place: Path, url: str) -> None:
    hub = CouchHub(HubAddress(url, "admin", "correct horse"), logging.getLogger("couchdb"))
    async with await Store.open(place / "replica.db") as store:
        link = HubLink(store, hub, url, place.name, timing=Timing(lasts_s=1.0, renew_s=0.05))
        running = asyncio.create_task(link.run())
        while not running.done():
            print(json.dumps(link.facts()["lease"]), flush=True)
            await asyncio.sleep(0.05)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
