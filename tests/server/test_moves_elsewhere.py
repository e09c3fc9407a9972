"""Protects labels and annotations of files that move on another machine: control plane and agent follow them apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from moving import end_at, labels_at, move

from mosaicfs_core.documents import ids
from mosaicfs_core.server.moves import Mover
from mosaicfs_core.store import Store
from mosaicfs_core.store.moves import clear_followed
from mosaicfs_core.testing.store import NODE, annotation, assignment, file_document


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "replica.db") as opened:
        yield opened


async def test_another_nodes_file_is_followed_once(store: Store) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x")])
    await move(store, "/a", "/b")
    mover = Mover(store, "node-other")
    elsewhere: dict[str, list[str]] = {}
    since = await mover._round(0, elsewhere)
    assert labels_at(store, "/b") == ["x"]
    await store.update(assignment("/a")["_id"], lambda _: assignment("/a", "of a new file"))
    await store.update(file_document("/a")["_id"], lambda there: {**(there or {}), "size": 77})
    assert since is not None
    await mover._round(since, elsewhere)
    assert (labels_at(store, "/a"), labels_at(store, "/b")) == (["of a new file"], ["x"])


class Elsewhere:
    """A process of its own, one look at a time. Its store is the other's as well, so that both see all at once."""

    def __init__(self, store: Store, *, control: bool = True) -> None:
        self.store = store
        self.mover = Mover(store, "control-plane-x" if control else NODE, control=control)
        self.known: dict[str, list[str]] = {}
        self.since = 0

    async def look(self) -> None:
        """One round."""
        seen = await self.mover._round(self.since, self.known)
        assert seen is not None
        self.since = seen

    async def told(self) -> int:
        """The agent hears what was followed."""
        return await self.store.transaction(lambda tx: clear_followed(tx, NODE, self.known))

    async def set(self, path: str, moved_from: str | None) -> None:
        """The agent writes where the file is and, if it does, where it came from."""
        name = path.rpartition("/")[2]
        source = {"node_id": NODE, "export_path": path, "export_parent": "/"}

        def apply(there: dict[str, Any] | None) -> dict[str, Any]:
            kept = {key: value for key, value in (there or {}).items() if key != "moved_from"}
            return {**kept, "name": name, "source": source} | ({"moved_from": moved_from} if moved_from else {})

        await self.store.update(file_document("/a")["_id"], apply)


async def test_labels_of_a_file_renamed_onto_another_follow_when_the_agent_is_elsewhere(store: Store) -> None:
    await store.bulk([file_document("/a"), file_document("/b"), assignment("/a", "of a"), assignment("/b", "of b")])
    control = Elsewhere(store)
    await end_at(store, "/a", "/b")
    await control.look()
    assert sorted(labels_at(store, "/b")) == ["of a", "of b"]
    await move(store, "/b", "/c")  # before the agent heard of the other's
    assert await control.told() == 1
    await control.look()
    ended = await store.get(file_document("/a")["_id"])
    assert ended is not None
    assert (ended["status"], ended.get("moved_from"), ended.get("renamed_onto")) == ("deleted", None, None)
    assert sorted(labels_at(store, "/c")) == ["of a", "of b"]
    assert (labels_at(store, "/a"), labels_at(store, "/b")) == ([], [])


async def test_labels_follow_a_file_that_moves_on_before_its_agent_heard_of_it(store: Store) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x")])
    control = Elsewhere(store)
    await control.set("/b", "/a")
    await control.look()
    await control.set("/c", "/a")
    assert await control.told() == 0  # what was followed is not where the file is now
    await control.look()
    assert (labels_at(store, "/b"), labels_at(store, "/c")) == ([], ["x"])
    await control.look()
    assert await control.told() == 1
    assert "moved_from" not in (await store.get(file_document("/a")["_id"]) or {})
    await control.look()
    assert control.known == {}
    assert labels_at(store, "/c") == ["x"]


async def test_labels_follow_a_file_that_goes_back_before_its_agent_heard_of_it(store: Store) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x")])
    control = Elsewhere(store)
    await control.set("/b", "/a")
    await control.look()
    assert labels_at(store, "/b") == ["x"]
    await control.set("/a", None)
    await control.look()
    assert (labels_at(store, "/b"), labels_at(store, "/a"), control.known) == ([], ["x"], {})
    await control.look()
    assert labels_at(store, "/a") == ["x"]


async def test_an_agent_moves_its_annotations_and_leaves_the_rest_to_the_control_plane(store: Store) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x"), annotation("/a", "words", {})])
    agent, control = Elsewhere(store, control=False), Elsewhere(store)
    await agent.set("/b", "/a")
    await agent.look()
    assert await store.get(ids.annotation_id(NODE, "/b", "words")) is not None
    assert labels_at(store, "/a") == ["x"]
    assert (await store.get(file_document("/a")["_id"]) or {})["moved_from"] == "/a"
    await agent.look()
    await control.look()
    assert labels_at(store, "/b") == ["x"]
    assert await control.told() == 1
    await agent.look()
    await control.look()
    assert (agent.known, control.known) == ({}, {})
