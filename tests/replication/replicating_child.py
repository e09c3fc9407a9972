"""One side of the kill test: writes files into its store, and to the other side's, replicating both ways all the time.

Arguments of ``main``: the store's path, the other side's address and token, the number of the round. It prints
``{id} {rev}`` of every document once the side that it was written to has acknowledged it, and goes on until it is
killed.
"""

import asyncio
import sys
from pathlib import Path

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.replication import HttpPeer, Replicator, StorePeer
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import file_document

SIZE = 20


def peer(url: str, token: str) -> HttpPeer:
    return HttpPeer(PlainRequests(url, {"Authorization": f"Bearer {token}"}))


async def main(path: str, url: str, token: str, round_number: int) -> None:
    store = await Store.open(Path(path))
    near = StorePeer(store)
    push = Replicator(near, peer(url, token), direction="push", checkpoint_every=0.02)
    pull = Replicator(peer(url, token), near, direction="pull", checkpoint_every=0.02)
    tasks = [asyncio.create_task(one.run()) for one in (push, pull)]
    other = peer(url, token)
    number = 0
    while not any(task.done() for task in tasks):
        place = f"/{round_number}/{number}"
        for result in await store.bulk([file_document(f"{place}/near-{index}") for index in range(SIZE)]):
            print(result.id, result.rev)
        there = [file_document(f"{place}/far-{index}") for index in range(SIZE)]
        made = [{**document, "_rev": f"1-{number:032x}"} for document in there]
        try:
            if not await other.bulk_docs(made):
                for document in made:
                    print(document["_id"], document["_rev"])
        except Unavailable:
            await asyncio.sleep(0.01)
        sys.stdout.flush()
        number += 1
