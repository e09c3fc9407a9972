"""A small internet on loopback: owners that serve files and misbehave on request, and a cache that reads from them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiohttp import web

from mosaicfs_core.content.cache import Cache, CachedSource, CacheTier
from mosaicfs_core.content.owners import Owners
from mosaicfs_core.content.routes import Route
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.security.requests import PlainRequests

OWNER = "node-owner"
MIB = 1 << 20


class Owner:
    """A node that serves ``files`` (id → bytes, or what has a length and slices) as the transfer endpoint does.

    ``disturb(request, data)`` may change the bytes of an answer, or wait; ``cut`` breaks bodies off after so many
    bytes. ``requests`` are (method, Range header) in order, ``sent`` counts bytes.
    """

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.sent = 0
        self.disturb: Callable[[web.Request, bytes], Any] | None = None
        self.cut: int | None = None
        self.digests = True
        self.content_digests = True
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/api/agent/transfer/{file}", self._transfer)
        app.router.add_get("/api/agent/transfer/{file}/digest", self._digest)
        app.router.add_get("/api/files/{file}/content", self._transfer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def etag(self, file_id: str) -> str:
        return f'"v{self.versions.get(file_id, 0)}"'

    def gets(self) -> list[str]:
        """The ranges asked for, whole files as ""."""
        return [span for method, span in self.requests if method == "GET"]

    async def _digest(self, request: web.Request) -> web.Response:
        file_id = request.match_info["file"]
        self.requests.append(("DIGEST", ""))
        if request.query.get("etag") != self.etag(file_id):
            return web.Response(status=412)
        return web.Response(headers={"Repr-Digest": header(self.files[file_id])})

    async def _transfer(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["file"]
        span = request.headers.get("Range", "")
        self.requests.append((request.method, span))
        data = self.files.get(file_id)
        if data is None:
            return web.Response(status=404)
        etag = self.etag(file_id)
        if request.headers.get("If-Match", etag) != etag:
            return web.Response(status=412)
        headers = {"ETag": etag, "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT"}
        status, start, stop = 200, 0, len(data)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", span)
        if found:
            status, start, stop = 206, int(found[1]), min(int(found[2]) + 1, len(data))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        body = b"" if request.method == "HEAD" else data[start:stop]
        if found and self.content_digests and "Want-Content-Digest" in request.headers:
            headers["Content-Digest"] = header(body)
        if not found and self.digests and request.method == "GET":
            headers["Repr-Digest"] = header(data)
        answer = web.StreamResponse(status=status, headers=headers)
        answer.content_length = stop - start
        if request.method == "GET" and self.disturb is not None:
            changed = self.disturb(request, body)
            body = await changed if asyncio.iscoroutine(changed) else changed
        await answer.prepare(request)
        if request.method == "GET":
            if self.cut is not None:
                await answer.write(body[: self.cut])
                assert request.transport is not None
                request.transport.abort()
                return answer
            self.sent += len(body)
            await answer.write(body)
        return answer


def header(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


@lru_cache(8)
def content(size: int, seed: int = 1) -> bytes:
    """Bytes that differ at every place and with every seed."""
    return random.Random(seed).randbytes(size)


def flip_bits(place: Path, chance: random.Random) -> None:
    """Flip some bits of an index and of its write-ahead log."""
    for path in (place / "index.db", place / "index.db-wal"):
        if path.exists() and (size := path.stat().st_size):
            for _ in range(3):
                flip(path, chance.randrange(size), 1 << chance.randrange(8))


def flip(path: Path, offset: int, bit: int = 0x10) -> None:
    """Flip bits of a byte of a file, at a change time of its own: where clocks are coarse, the same tick may have been
    another's."""
    with open(path, "r+b", buffering=0) as file:
        before = os.fstat(file.fileno()).st_ctime_ns
        (byte,) = os.pread(file.fileno(), 1, offset)
        while os.fstat(file.fileno()).st_ctime_ns == before:
            os.pwrite(file.fileno(), bytes([byte ^ bit]), offset)


class Bed:
    """An owner, the way to it, and a cache; ``restart`` opens the cache again, as after a crash when ``hard``."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.place = place
        self.owner = Owner()
        self.routes: list[Route] = []
        self.settings = {"capacity": 1 << 40, "minimum_free": 0, **settings}
        self.patience_s = 5.0
        self.cache: Cache
        self._plain: list[PlainRequests] = []

    async def start(self) -> None:
        await self.owner.start()
        self.routes = [self.route(self.owner.url)]
        await self.open_cache()

    def route(self, url: str) -> Route:
        self._plain.append(PlainRequests(url))
        return Route(url, self._plain[-1])

    async def open_cache(self) -> None:
        owners = Owners(lambda node_id: self.routes, patience_s=self.patience_s)
        self.cache = Cache(self.place, owners, **self.settings)
        await self.cache.start()

    async def restart(self) -> None:
        await self.cache.close()
        await self.open_cache()

    async def stop(self) -> None:
        await self.cache.close()
        for plain in self._plain:
            await plain.close()
        await self.owner.stop()

    def put(self, name: str, data: Any, *, mtime: int = 1_000_000) -> FileRecord:
        """Give the owner a file (another version, when it has one); what its document says."""
        record = FileRecord(
            file_id=f"{OWNER}.{name}",
            node_id=OWNER,
            export_path=f"/files/{name}",
            name=name,
            size=len(data),
            mtime=mtime,
            inode=1000,
        )
        self.owner.files[record.file_id] = data
        self.owner.versions[record.file_id] = self.owner.versions.get(record.file_id, 0) + 1
        return record

    async def open(self, file: FileRecord) -> CachedSource:
        source = await CacheTier("node-me", self.cache).open(file)
        assert isinstance(source, CachedSource)
        return source

    async def read(self, file: FileRecord, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes through a source of its own."""
        with await self.open(file) as source:
            parts = [part async for part in source.stream(offset, length)]
        await self.settled()
        return b"".join(parts)

    async def settled(self) -> None:
        """Wait for what the cache does in the background."""
        await asyncio.gather(*self.cache._background)

    def data_files(self) -> list[Path]:
        """What lies in the shards."""
        return sorted(path for path in self.place.glob("??/*") if path.is_file())
