"""The child of the crash test: writes batches for ever, printing the number of each once it is acknowledged.

Arguments: the replica's path, the first batch number. Batch N has 50 files named after N, an identity for each, and
sets the counter, a document of its own, to N.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mosaicfs_core.store import Store, WriteTransaction
from mosaicfs_core.testing.store import file_document

SIZE = 50


def write(tx: WriteTransaction, number: int, made: list[dict[str, Any]], counter: dict[str, Any]) -> None:
    assert all(result.error is None for result in tx.bulk(made))
    tx.set_identities([(document["_id"], 1, number * SIZE + at, None) for at, document in enumerate(made)])
    tx.update(counter["_id"], lambda present: {**(present or {}), **counter})


async def main(path: str, first: int) -> None:
    store = await Store.open(Path(path))
    number = first
    while True:
        made = [file_document(f"/d{number % 7}/{number}-{index}.bin", size=number) for index in range(SIZE)]
        counter = file_document("/counter", size=number)

        await store.transaction(partial(write, number=number, made=made, counter=counter))
        print(number, flush=True)
        number += 1


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
