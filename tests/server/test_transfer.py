"""Protects what other nodes read: whole files, ranges, conditions, digests, and only files of this node."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import g
from tests.content.bed import OWNER, Bed

from mosaicfs_core.content import Content, DigestBook, LocalTier, Owners, Route
from mosaicfs_core.content.cache import Cache, CacheTier
from mosaicfs_core.content.digests import sha256_of
from mosaicfs_core.documents import ids, times
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.server.routes import transfer
from mosaicfs_core.server.state import Principal
from mosaicfs_core.server.streaming import CHUNK


def header(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    """An owner of other files, and a cache."""
    made = Bed(tmp_path / "cache")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def book(instance: Any, tmp_path: Path) -> AsyncIterator[DigestBook]:
    """The instance's content, remembering digests."""
    book = DigestBook(tmp_path / "digests.db")
    core = instance.harness.core
    core.content = Content([LocalTier(core.node_id, lambda: (b"/",), digests=book)], book)
    yield book
    book.close()


async def fetch(instance: Any, file_id: str, suffix: str = "", **headers: str) -> Any:
    return await instance.ask("GET", f"/api/agent/transfer/{file_id}{suffix}", headers=headers)


async def test_a_small_file_comes_with_its_digest(instance: Any, book: DigestBook, tmp_path: Path) -> None:
    file_id = await instance.add_file(tmp_path / "tree" / "a", b"bytes")
    answer = await fetch(instance, file_id)
    assert (answer.status_code, await answer.get_data()) == (200, b"bytes")
    assert answer.headers["Repr-Digest"] == header(b"bytes")
    part = await fetch(instance, file_id, Range="bytes=1-2")
    assert (part.status_code, await part.get_data()) == (206, b"yt")
    assert part.headers["Repr-Digest"] == header(b"bytes")
    assert "Content-Digest" not in part.headers


async def test_a_big_file_is_hashed_while_it_is_sent(instance: Any, book: DigestBook, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 11
    assert len(data) > 2 * CHUNK
    file_id = await instance.add_file(tmp_path / "tree" / "a", data)
    first = await fetch(instance, file_id)
    assert "Repr-Digest" not in first.headers
    assert await first.get_data() == data
    again = await fetch(instance, file_id, "", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.headers["Repr-Digest"]) == (304, header(data))
    asked = await instance.ask(
        "GET", f"/api/agent/transfer/{file_id}/digest", query_string={"etag": first.headers["ETag"]}
    )
    assert json.loads(await asked.get_data()) == {"etag": first.headers["ETag"], "digest": header(data)}


async def test_the_digest_of_bytes_that_were_never_sent(instance: Any, book: DigestBook, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 5
    file_id = await instance.add_file(tmp_path / "tree" / "a", data)
    answer = await fetch(instance, file_id, "/digest")
    assert answer.headers["Repr-Digest"] == header(data)


async def test_a_digest_that_many_ask_for_is_computed_once_beside_the_downloads(
    instance: Any, book: DigestBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when who asked first has left; and it takes no thread from who downloads."""
    data = os.urandom(CHUNK + 5)
    file_id = await instance.add_file(tmp_path / "tree" / "a", data)
    begun, go_on, computed = threading.Event(), threading.Event(), []

    def slow(descriptor: int) -> bytes | None:
        begun.set()
        go_on.wait(20)
        computed.append(descriptor)
        return sha256_of(descriptor)

    monkeypatch.setattr(transfer, "sha256_of", slow)
    first = asyncio.create_task(fetch(instance, file_id, "/digest"))
    await asyncio.to_thread(begun.wait, 20)
    others = [asyncio.create_task(fetch(instance, file_id, "/digest")) for _ in range(8)]
    await asyncio.sleep(0.1)
    part = await fetch(instance, file_id, Range="bytes=0-99")
    assert await part.get_data() == data[:100]
    first.cancel()
    await asyncio.sleep(0.05)
    go_on.set()
    for answer in await asyncio.gather(*others):
        assert answer.headers["Repr-Digest"] == header(data)
    assert len(computed) == 1
    assert (await fetch(instance, file_id, "/digest")).status_code == 200
    assert len(computed) == 1, "it is remembered"


async def test_a_digest_is_not_computed_for_a_file_of_any_size(
    instance: Any, book: DigestBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "COMPUTED_LIMIT", 4)
    file_id = await instance.add_file(tmp_path / "tree" / "a", b"bytes")
    assert (await fetch(instance, file_id, "/digest")).status_code == 503
    await fetch(instance, file_id)
    assert (await fetch(instance, file_id, "/digest")).headers["Repr-Digest"] == header(b"bytes")


async def test_the_digest_of_a_version_that_is_gone(instance: Any, book: DigestBook, tmp_path: Path) -> None:
    path = tmp_path / "tree" / "a"
    file_id = await instance.add_file(path, b"old")
    etag = (await fetch(instance, file_id)).headers["ETag"]
    path.write_bytes(b"newer")
    asked = {"query_string": {"etag": etag}}
    answer = await instance.ask("GET", f"/api/agent/transfer/{file_id}/digest", **asked)
    assert answer.headers["Repr-Digest"] == header(b"old")
    assert (await fetch(instance, file_id)).headers["Repr-Digest"] == header(b"newer")
    unknown = await instance.ask("GET", f"/api/agent/transfer/{file_id}/digest", query_string={"etag": '"other"'})
    assert unknown.status_code == 412


async def test_a_part_comes_with_its_own_digest_when_wanted(instance: Any, book: DigestBook, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 11
    file_id = await instance.add_file(tmp_path / "tree" / "a", data)
    wanted = {"Range": "bytes=1000-1999", "Want-Content-Digest": "sha-256=1"}
    answer = await fetch(instance, file_id, **wanted)
    assert (answer.status_code, await answer.get_data()) == (206, data[1000:2000])
    assert answer.headers["Content-Digest"] == header(data[1000:2000])
    assert (await fetch(instance, file_id, **wanted, **{"If-Match": '"x"'})).status_code == 412
    outside = await fetch(instance, file_id, Range=f"bytes={len(data)}-")
    assert outside.status_code == 416
    several = await fetch(instance, file_id, Range="bytes=0-0,5-6")
    assert several.headers["Content-Type"].startswith("multipart/byteranges")


async def test_only_this_nodes_files_and_only_for_those_who_may(instance: Any, tmp_path: Path) -> None:
    mine = await instance.add_file(tmp_path / "tree" / "a", b"bytes")
    document = await instance.harness.store.get(f"file::{mine.replace('.', '::', 1)}")
    other = {**document, "_id": document["_id"].replace(instance.node_id, "node-other-aaaa")}
    other |= {"source": {**document["source"], "node_id": "node-other-aaaa"}, "inode": 123456}
    del other["_rev"]
    await instance.harness.store.put(other)
    short = other["_id"].removeprefix("file::").replace("::", ".", 1)
    assert (await fetch(instance, short)).status_code == 404
    assert (await fetch(instance, short, "/digest")).status_code == 404
    await instance.harness.store.update(document["_id"], lambda now: {**(now or {}), "status": "deleted"})
    assert (await fetch(instance, mine)).status_code == 404
    assert (await instance.ask("GET", f"/api/agent/transfer/{mine}", token=None)).status_code == 401


@pytest.mark.parametrize(
    ("kind", "status"), [("node", 200), ("user", 200), ("agent", 403), ("link", 403), ("hub", 403)]
)
async def test_kinds_of_callers(instance: Any, tmp_path: Path, kind: str, status: int) -> None:
    file_id = await instance.add_file(tmp_path / "tree" / "a", b"bytes")

    async def pretend() -> None:
        g.principal = Principal(kind=kind, name="somebody")

    instance.app.before_request_funcs[None].append(pretend)
    assert (await fetch(instance, file_id)).status_code == status


@pytest.mark.parametrize("relay", [False, True])
async def test_another_nodes_cache_reads_from_the_real_server(served: Any, tmp_path: Path, relay: bool) -> None:
    plain = PlainRequests(f"http://127.0.0.1:{served.port}", {"Authorization": f"Bearer {served.token}"})
    owners = Owners(lambda node_id: [Route(plain.base_url, plain, relay)])
    cache = Cache(tmp_path / "cache", owners, capacity=1 << 30, minimum_free=0)
    await cache.start()
    size = len(served.content)
    known = {"node_id": served.file_id.partition(".")[0], "export_path": "/x", "name": "x", "mtime": 5, "inode": 1000}
    file = FileRecord(file_id=served.file_id, size=size, **known)
    content = Content([CacheTier("node-me", cache)])
    with await content.open(file) as source:
        assert b"".join([part async for part in source.stream()]) == served.content
        assert source.sha256 == hashlib.sha256(served.content).digest()
    assert cache.usage.cached_bytes == size
    with await content.open(FileRecord(file_id=served.file_id, size=size - 1, **known)) as source:
        assert await source.read(10, 100) == served.content[10:110], "past the cache, by range"
    await cache.close()
    await plain.close()


async def test_users_read_other_nodes_files_through_the_cache(instance: Any, bed: Bed, tmp_path: Path) -> None:
    core = instance.harness.core
    core.content = Content([LocalTier(core.node_id, lambda: (b"/",)), CacheTier(core.node_id, bed.cache)])
    name = "0b0e7a52-8d06-5c0e-9f0e-3a6b5a0d0c01"
    file = bed.put(name, b"far away")
    identifier = ids.file_document_id(OWNER, name)
    document = {
        "_id": identifier,
        "type": "file",
        "inode": ids.derived_inode(identifier),
        "name": name,
        "source": {"node_id": OWNER, "export_path": file.export_path, "export_parent": "/files"},
        "size": file.size,
        "mtime": times.format_time(file.mtime),
        "status": "active",
    }
    await instance.harness.store.put(document)
    path = f"/api/files/{file.file_id}/content"
    answer = await instance.ask("GET", path)
    assert (answer.status_code, await answer.get_data()) == (200, b"far away")
    assert answer.headers["ETag"] == bed.owner.etag(file.file_id)
    assert answer.headers["Repr-Digest"] == header(b"far away")
    part = await instance.ask("GET", path, headers={"Range": "bytes=4-"})
    assert (part.status_code, await part.get_data()) == (206, b"away")
    await bed.cache.compare({}.get)
    await bed.owner.stop()
    assert (await instance.ask("GET", path)).status_code == 503
