"""Protects an answer from the writes that go on while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mosaicfs_core.replication.flows import Access
from mosaicfs_core.server.couch.pages import of_one_state
from mosaicfs_core.server.couch.view import Seen, View
from mosaicfs_core.store import Reader


def as_it_comes(function: Callable[[Reader], list[Seen]]) -> Callable[[Reader], list[Seen]]:
    return function


@pytest.mark.parametrize(("reading", "whole"), [(of_one_state, True), (as_it_comes, False)])
async def test_a_conflict_that_is_resolved_meanwhile_is_told_as_it_was(couch: Any, reading: Any, whole: bool) -> None:
    document = couch.file(1)
    revs = [f"1-{letter * 32}" for letter in "ba"]
    leaves = [{**document, "_rev": rev, "_revisions": {"start": 1, "ids": [rev[2:]]}} for rev in revs]
    await couch.store.bulk(leaves, new_edits=False)
    loop, view = asyncio.get_running_loop(), View(Access.for_node(couch.node))

    def look(reader: Reader) -> list[Seen]:
        entry = reader.entries((document["_id"],))[document["_id"]]
        resolved = couch.store.put({"_id": document["_id"], "_rev": revs[1], "_deleted": True})
        asyncio.run_coroutine_threadsafe(resolved, loop).result(20)
        return view.leaves(entry)

    seen = await couch.store.read(reading(look))
    assert ([leaf.rev for leaf in seen] == revs) is whole
