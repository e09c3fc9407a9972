"""Protects that a store gives away no more documents at once than may weigh together, and all of them in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mosaicfs_core.replication import StorePeer, Wanted
from mosaicfs_core.replication.batching import HEAVY, weight_of
from mosaicfs_core.replication.peer import Fetched
from mosaicfs_core.replication.store_peer import FEW
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import annotation, file_document


async def fill(store: Store, sizes: Sequence[int]) -> list[Wanted]:
    """An annotation with so many bytes of text for each."""
    wanted = []
    for start in range(0, len(sizes), 50):
        part = list(enumerate(sizes))[start : start + 50]
        documents = [annotation(f"/{number}", "ocr", {"text": "x" * size}) for number, size in part]
        for result in await store.bulk(documents):
            assert result.rev is not None
            wanted.append(Wanted(result.id, result.rev))
    return wanted


async def ask(store: Store, wanted: Sequence[Wanted], by: str) -> Fetched:
    peer = StorePeer(store)
    return await (peer.bulk_get(wanted) if by == "revision" else peer.leaves([one.id for one in wanted]))


async def all_of(store: Store, wanted: Sequence[Wanted], by: str) -> list[list[dict[str, Any]]]:
    """What is given, answer by answer, until there is no rest."""
    answers = []
    while wanted:
        found = await ask(store, wanted, by)
        assert 0 <= found.rest < len(wanted), "an answer brings something, or it would be asked for ever"
        answers.append(found.documents)
        wanted = wanted[len(wanted) - found.rest :]
    return answers


@pytest.mark.parametrize("by", ["revision", "leaves"])
async def test_documents_of_one_size_weigh_what_they_may_and_hardly_more(near: Store, by: str) -> None:
    size = 100_000
    wanted = await fill(near, [size] * 200)
    *full, last = await all_of(near, wanted, by)
    for documents in full:
        assert HEAVY <= weight_of(documents) < HEAVY + 2 * size
    assert [one["_id"] for part in [*full, last] for one in part] == [one.id for one in wanted]


@pytest.mark.parametrize("by", ["revision", "leaves"])
async def test_heavy_ones_behind_light_ones(near: Store, by: str) -> None:
    """What was light so far promises nothing: so few are read at once that they do not matter."""
    light, size = 300, 300_000
    wanted = await fill(near, [10] * light + [size] * 80)
    answers = await all_of(near, wanted, by)
    assert max(weight_of(documents) for documents in answers) < HEAVY + FEW * size + size
    assert sum(len(documents) for documents in answers) == light + 80


async def test_one_that_is_too_heavy_comes_alone(near: Store) -> None:
    wanted = await fill(near, [10, HEAVY // 2, HEAVY // 2, 10])
    reading = [await ask(near, wanted[start:], "revision") for start in range(1, 4)]
    assert [len(found.documents) for found in reading] == [3, 2, 1]
    assert [found.rest for found in reading] == [0, 0, 0]


async def test_what_is_not_there_is_left_out_and_light_ones_come_at_once(near: Store) -> None:
    await near.bulk([file_document(f"/{number}") for number in range(700)])
    wanted = [Wanted(file_document(f"/{number}")["_id"], "1-" + "0" * 32) for number in range(650, 750)]
    found = await ask(near, wanted, "leaves")
    assert (len(found.documents), found.rest, found.failed, found.absent) == (50, 0, [], [])
