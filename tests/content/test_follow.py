"""The cache follows the documents of the store: what changed or went there goes here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.content.bed import OWNER, Bed

from mosaicfs_core import documents as d
from mosaicfs_core.config import CacheConfig
from mosaicfs_core.content import node_content
from mosaicfs_core.content.cache.follow import follow
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.store import Reader, Store

NAMES = [f"0b0e7a52-8d06-5c0e-9f0e-3a6b5a0d0c0{number}" for number in range(3)]


def document(file: FileRecord, **changes: Any) -> dict[str, Any]:
    identifier = d.file_document_id(OWNER, file.name)
    return {
        "_id": identifier,
        "type": "file",
        "inode": d.derived_inode(identifier),
        "name": file.name,
        "source": {"node_id": OWNER, "export_path": file.export_path, "export_parent": "/files"},
        "size": file.size,
        "mtime": d.format_time(file.mtime),
        "status": "active",
        **changes,
    }


async def test_a_file_under_an_impossible_id_stops_nothing(bed: Bed, tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        file = bed.put(NAMES[0], b"bytes")
        await store.put(document(file))
        await bed.read(file)
        following = asyncio.create_task(follow(store, bed.cache))
        foreign = {"_id": "file::alpha", "_rev": "1-" + "a" * 32, "type": "file"}
        await store.bulk([foreign], new_edits=False)
        await store.update(document(file)["_id"], lambda now: {**(now or {}), "mtime": d.format_time(9)})
        await until(lambda: bed.data_files() == [])
        assert not following.done()
        following.cancel()
        await asyncio.wait({following})


async def test_it_compares_at_first_and_then_follows(bed: Bed, tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        kept, changed, gone = (bed.put(name, name.encode()) for name in NAMES)
        for file in (kept, changed):
            await store.put(document(file))
        for file in (kept, changed, gone):
            await bed.read(file)
        following = asyncio.create_task(follow(store, bed.cache))
        await until(lambda: len(bed.data_files()) == 2)
        await store.update(document(changed)["_id"], lambda now: {**(now or {}), "mtime": d.format_time(9)})
        await until(lambda: len(bed.data_files()) == 1)
        await store.update(
            document(kept)["_id"], lambda now: {**(now or {}), "status": "deleted", "deleted_at": d.format_time(9)}
        )
        await until(lambda: bed.data_files() == [])
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_an_empty_cache_reads_no_changes_and_follows_from_its_first_entry_on(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    changes_since = Reader.changes_since
    monkeypatch.setattr(
        Reader,
        "changes_since",
        lambda self, since, limit=1000: asked.append(since) or changes_since(self, since, limit),
    )
    async with await Store.open(tmp_path / "replica.db") as store:
        looked = asyncio.Event()
        holds_anything = bed.cache.holds_anything

        async def looking() -> bool:
            found = await holds_anything()
            looked.set()
            return found

        monkeypatch.setattr(bed.cache, "holds_anything", looking)
        following = asyncio.create_task(follow(store, bed.cache))
        file, other = (bed.put(name, b"bytes") for name in NAMES[:2])
        await asyncio.sleep(0)
        await store.put(document(other))
        await asyncio.wait_for(looked.wait(), 5)
        assert asked == []
        await store.put(document(file))
        await bed.read(file)
        await store.update(document(file)["_id"], lambda now: {**(now or {}), "mtime": d.format_time(9)})
        await until(lambda: bed.data_files() == [])
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - files on disk tell nobody
            await asyncio.sleep(0.01)


async def test_a_nodes_content_put_together(bed: Bed, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    me = home.node_id("me")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "mine").write_bytes(b"mine")
    async with await Store.open(home.replica) as store:
        far = bed.put(NAMES[0], b"far away")
        near = bed.put(NAMES[1], b"near")
        for file in (far, near):
            await store.put(document(file))
        (tmp_path / "nas").mkdir()
        routes = bed.routes
        made = node_content(
            home, store, me, CacheConfig(), roots=lambda: (str(tree).encode(),), routes=lambda node_id: routes
        )
        async with made as node:
            mine = FileRecord(
                file_id=f"{me}.x", node_id=me, export_path=f"{tree}/mine", name="mine", size=4, mtime=0, inode=1000
            )
            with await node.content.open(mine) as source:
                assert (source.tier, await source.read(0, 10)) == ("local", b"mine")
            with await node.content.open(far) as source:
                assert (source.tier, await source.read(0, 10)) == ("cache", b"far away")
            entry = {
                "mount_id": "m",
                "remote_node_id": OWNER,
                "remote_base_export_path": "/files",
                "local_mount_path": str(tmp_path / "nas"),
                "mount_type": "nfs",
                "priority": 1,
            }
            (tmp_path / "nas" / NAMES[1]).write_bytes(b"near")
            await store.put(
                {
                    "_id": d.node_document_id(me),
                    "type": "node",
                    "node_id": me,
                    "friendly_name": "me",
                    "status": "online",
                    "network_mounts": [entry],
                }
            )
            facts = (tmp_path / "nas" / NAMES[1]).stat()
            shown = FileRecord(
                file_id=near.file_id,
                node_id=OWNER,
                export_path=near.export_path,
                name=near.name,
                size=4,
                mtime=facts.st_mtime_ns // 1000,
                inode=1000,
            )
            with await node.content.open(shown) as source:
                assert (source.tier, await source.read(0, 10)) == ("network mount", b"near")
            routes = []
            with await node.content.open(near) as source, pytest.raises(Unavailable):
                await source.read(0, 10)
