"""Settling conflicts: a document with several live revisions becomes one again.

The replica of the document's owner does it, by the rules of ``documents.merge``: the merged body follows the winner and
the losers are deleted, in one transaction that takes place only if the leaves are still those that were merged. Where
two replicas settle the same conflict at once they write the same revisions, because body and parents are the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ..documents import is_valid, owner_of
from ..documents.merge import merge_leaves
from ..errors import MosaicError, Stale
from ..store import Reader, Store, WriteTransaction

logger = logging.getLogger(__name__)

TOGETHER: Final = 100
"""Documents settled at once: their transactions share commits."""
OWNER_FIELDS: Final = ("type", "node_id", "annotated_by", "source")
"""What a tombstone keeps, so that selectors and ownership still apply to it."""


class ConflictResolver:
    """Settles the conflicts of a replica's own documents.

    ``owns`` says of a document (its winner) whether it is this replica's to settle. ``found`` counts the conflicts met,
    ``settled`` those merged, since the start; what is left stands in ``Store.info().conflicts``.
    """

    def __init__(self, store: Store, owns: Callable[[Mapping[str, Any]], bool]) -> None:
        self._store, self._owns = store, owns
        self.found = 0
        self.settled = 0

    @classmethod
    def for_writer(cls, store: Store, *writers: str) -> ConflictResolver:
        """For a node id, or ``control-plane``, or both where one replica serves both."""
        return cls(store, lambda document: owner_of(document) in writers)

    async def settle_all(self) -> int:
        """Settle every conflict that is there now; returns how many were."""
        before, after = self.settled, 0
        while page := await self._store.read(partial(Reader.conflicted, limit=TOGETHER, after=after)):
            after = page[-1][0]
            await self._settle([identifier for _, identifier in page])
        return self.settled - before

    async def run(self) -> None:
        """Settle what is there and what comes, until the store closes."""
        since = await self._store.read(Reader.seq)
        await self.settle_all()
        async for change in self._store.changes(since, live=True):
            if len(change.revs) > 1:
                await self._settle([change.id])

    async def _settle(self, identifiers: Sequence[str]) -> None:
        await asyncio.gather(*[self._settle_one(identifier) for identifier in identifiers])

    async def _settle_one(self, identifier: str) -> None:
        found = await self._store.open_revs(identifier)
        leaves = [leaf for leaf in found if "_id" in leaf and not leaf.get("_deleted")]
        if len(leaves) < 2:
            return
        self.found += 1
        # An invalid leaf may be a newer version's: it is kept until somebody understands it, and hinders no other.
        understood = [leaf for leaf in leaves if is_valid(_stored(leaf))]
        if len(understood) < 2 or not self._owns(understood[0]):
            return
        edits = settling(understood)
        try:
            await self._store.transaction(lambda tx: _write(tx, edits))
        except Stale:
            return  # it has changed meanwhile, and that change will be seen
        except MosaicError as error:
            logger.warning("the conflict of %s could not be settled: %s", identifier, error.message)
            return
        self.settled += 1
        logger.info("settled a conflict of %d revisions of %s", len(leaves), identifier)


def settling(leaves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The edits that make one document of its live leaves (the winner first): pure."""
    winner = _stored(leaves[0])
    body = merge_leaves(str(winner.get("type", "")), leaves)
    merged = {**body, "_id": winner["_id"], "_rev": winner["_rev"]}
    edits = [] if merged == winner else [merged]
    for loser in leaves[1:]:
        kept = {field: loser[field] for field in OWNER_FIELDS if field in loser}
        edits.append({**kept, "_id": loser["_id"], "_rev": loser["_rev"], "_deleted": True})
    return edits


def _stored(leaf: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in leaf.items() if key != "_revisions"}


def _write(tx: WriteTransaction, edits: Sequence[Mapping[str, Any]]) -> None:
    for result in tx.bulk(edits):
        if result.error is not None:
            raise result.error  # which undoes the others
