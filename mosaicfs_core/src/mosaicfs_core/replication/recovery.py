"""A machine and its control plane after one of them lost data.

Two things go wrong with plain replication then. A machine that lost its replica would give new ids to files that the
control plane knows already; so it first fetches everything it owns (``pull_owned``). And a control plane that was
restored from a backup lacks documents, or has older ones, than the machines remember; so a machine that meets it again
sends what it owns, forgets what it knows of others' documents beyond what the control plane knows, and begins to follow
it anew (``recover``). ``meet`` decides which of these is needed. What is forgotten is told before it is (``offer``).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import md5
from typing import Any, Final, Literal

from ..documents import type_of_id
from ..errors import Stale, Unavailable
from ..store import Change, Reader, Store, WriteTransaction
from ..store.revtree import parse_rev
from .conflicts import OWNER_FIELDS
from .peer import Document, Filter, Peer, Row
from .replicator import Replicator
from .store_peer import StorePeer
from .surroundings import Surroundings

logger = logging.getLogger(__name__)

Meeting = Literal["first", "same", "restored"]
Offer = Callable[[Meeting], Awaitable[None]]
Owns = Callable[[Document], bool]
Keep = Callable[[Sequence[Document]], Awaitable[None]]

BATCH: Final = 1_000
MET: Final = "met"
"""Name of the ``_local`` document that says which control plane this replica belongs with."""
_PROBED: Final = ("node", "credential", "plugin", "virtual_directory", "label_rule")
"""Types that the control plane writes, and of which there are few."""


async def meet(
    store: Store,
    peer: Peer,
    *,
    owns: Owns,
    push: Filter,
    pull: Filter,
    owned: Filter,
    offer: Offer | None = None,
    keep: Keep | None = None,
    surroundings: Surroundings | None = None,
) -> Meeting:
    """Make sure that the replica and its control plane can replicate; call it before the first write and whenever the
    connection comes up. Raises ``Unavailable`` when the control plane cannot be reached.

    ``owns`` is whether a document is this node's to write; ``push`` and ``pull`` are the filters of the two flows,
    ``owned`` selects, at the control plane, what this node owns. ``offer`` is called before anything is taken over here
    of a control plane that has forgotten, or that is joined by a replica that was used alone, ``keep`` with documents
    that are about to be forgotten (at least once each).
    Interrupted at any moment, it is done again by the next call.
    """
    instance = (await peer.info()).instance_id
    known = await store.local_get(MET)
    if known is None:
        fresh = await store.read(Reader.seq) == 0
        if offer is not None and not fresh:
            await offer("first")
        await pull_owned(store, peer, owned, surroundings=surroundings)
        if not fresh:  # it was used without this control plane
            await recover(store, peer, owns=owns, push=push, pull=pull, keep=keep, surroundings=surroundings)
        await _remember(store, instance)
        return "first"
    puller = Replicator(peer, StorePeer(store), direction="pull", chosen=pull, surroundings=surroundings)
    same = known["instance_id"] == instance and not await puller.has_forgotten()
    if same and not await lacks_newest(store, peer, owns):
        return "same"
    logger.warning("the control plane was restored or made anew: sending what this node owns, fetching the rest again")
    if offer is not None:
        await offer("restored")
    await recover(store, peer, owns=owns, push=push, pull=pull, keep=keep, surroundings=surroundings)
    await _remember(store, instance)
    return "restored"


async def pull_owned(store: Store, peer: Peer, owned: Filter, *, surroundings: Surroundings | None = None) -> None:
    """Fetch everything that a node owns, so that its ids survive a lost replica."""
    puller = Replicator(peer, StorePeer(store), direction="pull", chosen=owned, surroundings=surroundings)
    await puller.run_once()


async def recover(
    store: Store,
    peer: Peer,
    *,
    owns: Owns,
    push: Filter,
    pull: Filter,
    keep: Keep | None = None,
    surroundings: Surroundings | None = None,
) -> None:
    """Send everything this node owns, take over the control plane's state of everything else, fetch what is new.
    ``keep`` gets what is forgotten here, before it is."""
    near = StorePeer(store)
    pusher = Replicator(near, peer, direction="push", chosen=push, surroundings=surroundings)
    await pusher.run_once(from_start=True)
    await drop_unknown(store, peer, owns, keep)
    puller = Replicator(peer, near, direction="pull", chosen=pull, surroundings=surroundings)
    await puller.run_once(from_start=True)


async def lacks_newest(store: Store, peer: Peer, owns: Owns) -> bool:
    """Whether the peer does not know what it wrote itself, by the newest revisions that are here of the types of which
    there are few.

    Positions are recorded every few seconds: what came after the last one was recorded, on both sides, and was lost by
    a peer that was set back to before it, is seen in the documents alone. A revision that the peer has cut off from the
    beginning of a long history, while this replica slept, was not lost.
    """
    known = await store.read(lambda reader: [one for name in _PROBED for one in reader.documents_of(name)])
    foreign = [Row(one["_id"], (one["_rev"],)) for one in known if not owns(one)]
    for start in range(0, len(foreign), BATCH):
        wanted = await peer.revs_diff(foreign[start : start + BATCH])
        there = await _leaves(peer, [one.id for one in wanted])
        if not all(any(_cut_off(one.rev, leaf) for leaf in there[one.id]) for one in wanted):
            return True
    return False


def _cut_off(rev: str, leaf: Mapping[str, Any]) -> bool:
    """Whether a revision is older than all that is told of a leaf's history. Pure."""
    history = leaf["_revisions"]
    return parse_rev(rev)[0] <= int(history["start"]) - len(history["ids"])


async def drop_unknown(store: Store, peer: Peer, owns: Owns, keep: Keep | None = None) -> int:
    """Forget revisions of others' documents that the peer does not know; returns of how many documents.

    Such a document becomes what the peer has of it, or is removed where the peer has nothing. It is forgotten, not
    edited: an edit would hide an older revision that is the peer's current one.
    """
    dropped, since = 0, 0
    while changes := await store.read(partial(Reader.changes, since=since, limit=BATCH, include_docs=True)):
        since = changes[-1].seq
        foreign = [one for one in changes if not owns(one.doc or {}) and one.revs != (gone(one.id),)]
        lacking = {wanted.id for wanted in await peer.revs_diff([Row(one.id, one.revs) for one in foreign])}
        doubtful = [one for one in foreign if one.id in lacking]
        if doubtful:
            replacements = await _theirs(peer, doubtful)
            if keep is not None:
                await keep([one.doc for one in doubtful if one.doc is not None and not one.deleted])
            dropped += await store.transaction(partial(_replace, made=replacements))
    return dropped


async def _theirs(peer: Peer, changes: Sequence[Change]) -> dict[str, list[dict[str, Any]]]:
    """What the peer has of these documents; a lone tombstone where it has nothing."""
    found = await _leaves(peer, [one.id for one in changes])
    return {one.id: found[one.id] or [_removal(one)] for one in changes}


async def _leaves(peer: Peer, identifiers: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """All leaves that the peer has of each of these documents."""
    found: dict[str, list[dict[str, Any]]] = {one: [] for one in identifiers}
    ids = list(found)
    while ids:
        got = await peer.leaves(ids)
        if got.failed:  # of which nothing is known: taken for removed, it would be forgotten
            raise Unavailable(f"{got.failed[0].id} cannot be read there: {got.failed[0].reason}")
        for document in got.documents:
            found[document["_id"]].append(document)
        ids = ids[len(ids) - got.rest :]
    return found


def gone(identifier: str) -> str:
    """The revision of a removal: one of its own, so that it is no ancestor of what may come back."""
    return f"1-{md5(f'gone {identifier}'.encode(), usedforsecurity=False).hexdigest()}"


def _removal(change: Change) -> dict[str, Any]:
    body = change.doc or {}
    kept: dict[str, Any] = {field: body[field] for field in OWNER_FIELDS if field in body}
    kept.setdefault("type", type_of_id(change.id) or change.type)
    return {**kept, "_id": change.id, "_rev": gone(change.id), "_deleted": True}


def _replace(tx: WriteTransaction, made: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    tx.replace([document for documents in made.values() for document in documents])
    return len(made)


async def _remember(store: Store, instance: str) -> None:
    known = await store.local_get(MET) or {}
    document = {"instance_id": instance, **({"_rev": known["_rev"]} if known else {})}
    try:
        await store.local_put(MET, document)
    except Stale:  # two at once: either has seen the same
        logger.info("the control plane was met twice at once")
