"""Protects finding by selector in parts: whichever way it walks, the parts together are the whole, each once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import format_time
from mosaicfs_core.documents.ids import notification_document_id
from mosaicfs_core.store import Store
from mosaicfs_core.store.find import find
from mosaicfs_core.testing.store import EPOCH, NODE, annotation, assignment, file_document

WALKS: list[tuple[dict[str, Any], int]] = [
    ({"_id": {"$gt": None}}, 45),
    ({"type": "file", "source.node_id": NODE, "source.export_parent": "/a"}, 13),
    ({"type": "file"}, 25),
    ({"type": "label_assignment"}, 5),
    ({"type": "annotation", "node_id": NODE}, 5),
    ({"type": "notification"}, 6),
    ({"type": "playlist"}, 4),
    ({"_id": "playlist::1"}, 1),
]


def notice(condition: str, **fields: Any) -> dict[str, Any]:
    """A notification. The index of its type begins with ``status``, which is optional."""
    return {
        "_id": notification_document_id(NODE, condition),
        "type": "notification",
        "source": {"node_id": NODE, "component": "test"},
        "severity": "info",
        "title": "A condition",
        "condition_key": condition,
        "first_seen": format_time(EPOCH),
        "last_seen": format_time(EPOCH),
        **fields,
    }


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Documents of known types and one that is not, some without what an index begins with."""
    store = await Store.open(tmp_path / "replica.db", validate=lambda document: None)
    documents = [file_document(f"/{'ab'[number % 2]}/{number:02}") for number in range(24)]
    documents += [file_document("/a/gone", status="deleted")]
    documents += [assignment(f"/a/{number}", "red") for number in range(5)]
    documents += [annotation(f"/a/{number}", "sum", {}) for number in range(5)]
    documents += [notice(f"c{number}") for number in range(3)]
    documents += [notice(f"s{number}", status="active") for number in range(3)]
    documents += [{"_id": f"playlist::{number}", "type": "playlist"} for number in range(4)]
    assert [result.error for result in await store.bulk(documents)] == [None] * len(documents)
    yield store
    await store.close()


async def in_parts(store: Store, selector: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """All that is found, by as many calls as it takes."""
    part = await store.read(lambda reader: find(reader, selector, 100, **options))
    found = part.documents
    while not part.ended:
        part = await store.read(partial(find, selector=selector, limit=100, after=part.place, **options))
        found += part.documents
    return found


@pytest.mark.parametrize(("selector", "count"), WALKS, ids=str)
@pytest.mark.parametrize("most", [1, 3, 100])
async def test_parts_are_the_whole(store: Store, selector: dict[str, Any], count: int, most: int) -> None:
    found = [document["_id"] for document in await in_parts(store, selector, most=most)]
    assert len(set(found)) == len(found) == count


@pytest.mark.parametrize("most", [1, 4, 100])
async def test_where_the_types_are_said_no_other_is_looked_at(store: Store, most: int) -> None:
    seen: list[str] = []

    def shown(document: Mapping[str, Any]) -> Mapping[str, Any]:
        seen.append(document["type"])
        return document

    types = {"label_assignment", "notification", "plugin"}
    found = await in_parts(store, {}, most=most, types=types, shown=shown)
    assert seen == [document["type"] for document in found] == ["label_assignment"] * 5 + ["notification"] * 6
    assert await in_parts(store, {"type": "file"}, most=most, types=types) == []


async def test_what_is_skipped_counts_over_all_parts(store: Store) -> None:
    first = await store.read(lambda reader: find(reader, {"type": "file"}, 100, 20, most=15))
    assert (first.documents, first.skip, first.ended) == ([], 5, False)
    rest = await store.read(lambda reader: find(reader, {"type": "file"}, 100, first.skip, after=first.place))
    assert (len(rest.documents), rest.skip, rest.ended) == (5, 0, True)
