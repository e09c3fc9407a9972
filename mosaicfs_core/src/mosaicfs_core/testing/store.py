"""Documents to fill a store with, and ``StoreContract``: what any store of MosaicFS must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mosaicfs_core import documents
from mosaicfs_core.errors import Conflict, InvalidDocument, NotFound, Stale, UserError
from mosaicfs_core.store import Store

NODE = "node-desk-aaaa"
EPOCH = 1_700_000_000_000_000


def file_document(
    path: str, *, node_id: str = NODE, size: int = 1, mtime: int = EPOCH, **fields: Any
) -> dict[str, Any]:
    """A valid file document for an export path; ``fields`` are added or replace what would be there."""
    identifier = documents.file_document_id(node_id, documents.first_file_uuid(node_id, path))
    return {
        "_id": identifier,
        "type": "file",
        "inode": documents.derived_inode(identifier),
        "name": documents.name_of(path),
        "source": {"node_id": node_id, "export_path": path, "export_parent": documents.parent_of(path)},
        "size": size,
        "mtime": documents.format_time(mtime),
        "status": "active",
        **fields,
    }


def assignment(path: str, *labels: str, node_id: str = NODE) -> dict[str, Any]:
    """A label assignment."""
    now = documents.format_time(EPOCH)
    return {
        "_id": documents.label_assignment_id(node_id, path),
        "type": "label_assignment",
        "node_id": node_id,
        "export_path": path,
        "labels": list(labels),
        "label_times": {label: {"added": now} for label in labels},
        "updated_at": now,
        "updated_by": "control-plane",
    }


def rule(
    prefix: str, *labels: str, node_id: str = "*", enabled: bool = True, uuid: str | None = None
) -> dict[str, Any]:
    """A label rule."""
    return {
        "_id": documents.label_rule_id(uuid or documents.new_uuid()),
        "type": "label_rule",
        "node_id": node_id,
        "path_prefix": prefix,
        "labels": list(labels),
        "name": "rule",
        "enabled": enabled,
        "created_at": documents.format_time(EPOCH),
    }


def annotation(path: str, plugin: str, data: dict[str, Any], *, node_id: str = NODE) -> dict[str, Any]:
    """An annotation made on the file's own node."""
    now = documents.format_time(EPOCH)
    return {
        "_id": documents.annotation_id(node_id, path, plugin),
        "type": "annotation",
        "node_id": node_id,
        "export_path": path,
        "plugin_name": plugin,
        "annotated_by": node_id,
        "data": data,
        "status": "ok",
        "annotated_at": now,
        "updated_at": now,
        "source_mtime": now,
        "source_size": 1,
    }


class StoreContract:
    """Subclass it and, for another store than ours, override ``open_store``."""

    async def open_store(self, path: Path) -> Store:
        """A store over the file at ``path``, which may be new."""
        return await Store.open(path)

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = await self.open_store(tmp_path / "replica.db")
        yield store
        await store.close()

    async def test_what_is_put_is_got(self, store: Store) -> None:
        document = file_document("/a/b.txt", mime_type="text/plain", provider="mail", later={"x": [1, None]})
        rev = await store.put(document)
        assert rev.startswith("1-")
        assert await store.get(document["_id"]) == {**document, "_rev": rev}
        assert await store.get_many([document["_id"], "dir::none"]) == [{**document, "_rev": rev}, None]

    async def test_the_same_edit_has_the_same_revision(self, store: Store, tmp_path: Path) -> None:
        other = await self.open_store(tmp_path / "other.db")
        document = file_document("/a/b.txt")
        first = await store.put(document)
        assert await other.put(document) == first
        changed = {**document, "_rev": first, "size": 2}
        assert await store.put(changed) == await other.put(changed)
        await other.close()

    async def test_a_stale_write_changes_nothing(self, store: Store) -> None:
        document = file_document("/a")
        first = await store.put(document)
        second = await store.put({**document, "_rev": first, "size": 2})
        with pytest.raises(Stale):
            await store.put({**document, "_rev": first, "size": 3})
        with pytest.raises(Conflict):
            await store.put({**document, "size": 3})
        with pytest.raises(Stale):
            await store.put({**file_document("/new"), "_rev": first})
        assert (await store.get(document["_id"]) or {})["_rev"] == second

    async def test_deletion_leaves_a_tombstone_with_its_body(self, store: Store) -> None:
        document = file_document("/a")
        rev = await store.put(document)
        tombstone = {"_id": document["_id"], "_rev": rev, "_deleted": True, "type": "file", "source": {"node_id": NODE}}
        gone = await store.put(tombstone)
        assert await store.get(document["_id"]) is None
        assert await store.get(document["_id"], rev=gone) == {**tombstone, "_rev": gone}
        again = await store.put(document)
        assert again.startswith("3-")
        assert await store.get(document["_id"]) == {**document, "_rev": again}

    async def test_update_reads_modifies_and_writes(self, store: Store) -> None:
        identifier = file_document("/a")["_id"]

        def grow(document: dict[str, Any] | None) -> dict[str, Any]:
            document = document or file_document("/a", size=0)
            return {**document, "size": document["size"] + 1}

        await asyncio.gather(*[store.update(identifier, grow) for _ in range(20)])
        assert (await store.get(identifier) or {})["size"] == 20
        assert await store.update(identifier, lambda document: None) == await store.get(identifier)

    async def test_bulk_answers_for_each(self, store: Store) -> None:
        good, bad = file_document("/a"), {**file_document("/b"), "size": "large"}
        results = await store.bulk([good, bad, good, {"_id": "_x"}, {**file_document("/c"), "_attachments": {"a": 1}}])
        assert [result.error is None for result in results] == [True, False, False, False, False]
        assert isinstance(results[1].error, InvalidDocument)
        assert results[1].error.field == "size"
        assert isinstance(results[2].error, Conflict)
        assert isinstance(results[4].error, UserError)
        assert (await store.info()).documents == {"file": 1}

    async def test_replicated_revisions_conflict_and_resolve(self, store: Store) -> None:
        document = file_document("/a")
        low, high = "2-" + "1" * 32, "2-" + "f" * 32
        base = "a" * 32
        for rev, size in ((low, 5), (high, 6)):
            history = {"start": 2, "ids": [rev[2:], base]}
            await store.bulk([{**document, "size": size, "_rev": rev, "_revisions": history}], new_edits=False)
        got = await store.get(document["_id"], conflicts=True, revs=True)
        assert got is not None
        assert (got["_rev"], got["size"], got["_conflicts"]) == (high, 6, [low])
        assert got["_revisions"] == {"start": 2, "ids": [high[2:], base]}
        assert {one["_rev"] for one in await store.open_revs(document["_id"])} == {low, high}
        assert await store.revs_diff({document["_id"]: [high, "3-" + "0" * 32]}) == {
            document["_id"]: {"missing": ["3-" + "0" * 32], "possible_ancestors": [high, low]}
        }
        assert (await store.info()).conflicts == 1
        loser = await store.get(document["_id"], rev=low)
        assert loser is not None
        assert loser["size"] == 5
        await store.put({"_id": document["_id"], "_rev": low, "_deleted": True, "type": "file"})
        assert await store.conflicts(document["_id"]) == []
        assert (await store.info()).conflicts == 0

    async def test_an_invalid_replicated_document_is_held_back(self, store: Store) -> None:
        document = {**file_document("/a"), "size": -1, "_rev": "1-" + "a" * 32}
        (result,) = await store.bulk([document], new_edits=False)
        assert result.error is None
        assert await store.get(document["_id"]) is None
        assert (await store.info()).quarantined == 1
        (change,) = [change async for change in store.changes(include_docs=True)]
        assert change.quarantined
        assert change.doc == document
        assert store.reader.directory(NODE, "/") is None
        repaired = {
            **document,
            "size": 1,
            "_rev": "2-" + "b" * 32,
            "_revisions": {"start": 2, "ids": ["b" * 32, "a" * 32]},
        }
        await store.bulk([repaired], new_edits=False)
        assert (await store.get(document["_id"]) or {})["size"] == 1
        assert (await store.info()).quarantined == 0

    async def test_changes_come_once_each_in_order(self, store: Store) -> None:
        first, second = file_document("/a"), file_document("/b")
        rev = await store.put(first)
        await store.put(second)
        await store.put({**first, "_rev": rev, "size": 2})
        changes = [change async for change in store.changes()]
        assert [(change.seq, change.id) for change in changes] == [(2, second["_id"]), (3, first["_id"])]
        assert [change.id async for change in store.changes(2)] == [first["_id"]]
        found = store.changes(selector={"size": 2}, include_docs=True)
        assert [change.doc["size"] async for change in found if change.doc] == [2]
        assert [change.id async for change in store.changes(types={"node"})] == []

    async def test_a_live_feed_wakes(self, store: Store) -> None:
        seen: list[str] = []

        async def follow() -> None:
            seen.extend([change.id async for change in store.changes(live=True, limit=3)])

        feed = asyncio.create_task(follow())
        paths = ["/a", "/b", "/c"]
        for path in paths:
            await store.put(file_document(path))
        await feed
        assert seen == [file_document(path)["_id"] for path in paths]

    async def test_a_heartbeat_without_changes(self, store: Store) -> None:
        feed = store.changes_with_heartbeat(heartbeat=0.01)
        assert await anext(feed) is None

    async def test_local_documents(self, store: Store) -> None:
        assert await store.local_get("checkpoint") is None
        first = await store.local_put("checkpoint", {"seq": 1})
        assert await store.local_get("checkpoint") == {"_id": "_local/checkpoint", "_rev": first, "seq": 1}
        with pytest.raises(Stale):
            await store.local_put("checkpoint", {"seq": 2})
        second = await store.local_put("checkpoint", {"seq": 2, "_rev": first})
        with pytest.raises(Stale):
            await store.local_delete("checkpoint", first)
        await store.local_delete("checkpoint", second)
        assert await store.local_get("checkpoint") is None
        assert [change async for change in store.changes()] == []

    async def test_all_docs_in_raw_order(self, store: Store) -> None:
        made = [file_document(f"/{number}", node_id=node) for number in range(30) for node in (NODE, "node-b-bbbb")]
        made += [assignment("/1", "x"), rule("/x/", "y")]
        await store.bulk(made)
        expected = sorted(document["_id"] for document in made)
        assert [identifier for identifier, _ in await store.all_docs()] == expected
        assert [name for name, _ in await store.all_docs(start=expected[7], end=expected[40], limit=9)] == expected[
            7:16
        ]
        middle = expected[20][:-7]
        wanted = [name for name in expected if name >= middle]
        assert [name for name, _ in await store.all_docs(start=middle)] == wanted

    async def test_bulk_get_and_open_revs(self, store: Store) -> None:
        document = file_document("/a")
        first = await store.put(document)
        second = await store.put({**document, "_rev": first, "size": 2})
        wanted = [{"id": document["_id"]}, {"id": document["_id"], "rev": first}, {"id": "file::x"}]
        one, old, absent = await store.bulk_get(wanted)
        assert one["docs"][0]["ok"]["_revisions"] == {"start": 2, "ids": [second[2:], first[2:]]}
        assert old["docs"][0]["error"]["error"] == "not_found"
        assert "error" in absent["docs"][0]
        (latest,) = await store.open_revs(document["_id"], [first], latest=True)
        assert latest["_rev"] == second
        with pytest.raises(NotFound):
            await store.open_revs("file::x")

    async def test_a_transaction_is_all_or_nothing(self, store: Store) -> None:
        def fail(tx: Any) -> None:
            tx.put(file_document("/a"))
            raise ValueError("changed my mind")

        with pytest.raises(ValueError, match="changed my mind"):
            await store.transaction(fail)
        assert (await store.info()).documents == {}
        assert store.reader.directory(NODE, "/") is None
        outcomes = await asyncio.gather(
            store.put(file_document("/b")),
            store.transaction(fail),
            store.put(file_document("/c")),
            return_exceptions=True,
        )
        assert [isinstance(outcome, ValueError) for outcome in outcomes] == [False, True, False]
        root = store.reader.directory(NODE, "/")
        assert root is not None
        assert root.below == 2

    async def test_it_is_the_same_after_reopening(self, store: Store, tmp_path: Path) -> None:
        document = file_document("/a")
        rev = await store.put(document)
        instance = store.instance_id
        await store.close()
        again = await self.open_store(tmp_path / "replica.db")
        assert again.instance_id == instance
        assert again.seq == 1
        assert await again.get(document["_id"]) == {**document, "_rev": rev}
        assert (await again.put(file_document("/b"))).startswith("1-")
        assert (await again.info()).update_seq == 2
        await again.close()

    async def test_find_by_selector(self, store: Store) -> None:
        await store.bulk([file_document("/a/1", size=1), file_document("/a/2", size=2), assignment("/a/1", "red")])
        found = await store.find({"type": "file", "size": {"$gt": 1}})
        assert [document["name"] for document in found] == ["2"]
        found = await store.find({"source.node_id": NODE, "source.export_parent": "/a", "type": "file"})
        assert sorted(document["name"] for document in found) == ["1", "2"]
        found = await store.find({"type": "label_assignment", "labels": {"$elemMatch": {"$eq": "red"}}})
        assert [document["export_path"] for document in found] == ["/a/1"]
        assert await store.find({"type": "file"}, limit=1, skip=1)
        with pytest.raises(UserError, match=r"\$near"):
            await store.find({"size": {"$near": 1}})

    async def test_compaction_keeps_what_is_needed(self, store: Store) -> None:
        document = file_document("/a")
        rev = await store.put(document)
        for size in range(2, 12):
            rev = await store.put({**document, "_rev": rev, "size": size})
        await store.set_revs_limit(3)
        await store.compact()
        got = await store.get(document["_id"], revs=True)
        assert got is not None
        assert got["size"] == 11
        assert got["_revisions"]["start"] == 11
        assert len(got["_revisions"]["ids"]) == 3
