"""Transfer beside nginx serving the same file; the cache beside the bare disk; a film with seeks over a slow line.

The server is a real ``mosaicfs up``. The reader is a cache in this process: what another machine's agent would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

from benchmarks.instance import Instance, running, wait
from benchmarks.rows import Row, medians, rounds_at, seconds
from benchmarks.trees import ROOT
from mosaicfs_core.content import AccessTier, LocalTier
from mosaicfs_core.content.cache import BLOCK, Cache, CachedSource, CacheTier
from mosaicfs_core.content.owners import Owners
from mosaicfs_core.content.routes import Route
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.security.requests import PlainRequests

MIB = 1 << 20
FILM_BYTES = 10_000_000_000
ROUND_TRIP_S = 0.02
CHUNK = 256 * 1024
SEEKS = 10
BIG = "big.bin"
AGAIN = 3
"""How often in each round a file is transferred, is read from the cache, and is read as a local one."""


def tree(scale: float) -> Path:
    """A file of 1 GiB of random bytes (scaled), and a sparse film of 10 GB."""
    root = ROOT / f"transfer-{scale:g}"
    mark = ROOT / f"transfer-{scale:g}.complete"
    if not mark.exists():
        root.mkdir(parents=True, exist_ok=True)
        with open(root / BIG, "wb") as big:
            for _ in range(max(60, int(1024 * scale))):
                big.write(os.urandom(MIB))
        with open(root / "film.mkv", "wb") as film:
            film.truncate(FILM_BYTES)
        mark.touch()
    return root


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[str | None]:
    """nginx serving a directory on loopback: its address, None where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as place, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        configuration = Path(place) / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(
            f"{user} daemon off; pid {place}/pid; error_log {place}/error.log; events {{}}\n"
            f"http {{ access_log off; sendfile on; client_body_temp_path {place}/b; proxy_temp_path {place}/p;\n"
            f"fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n"
            f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
        )
        process = subprocess.Popen([program, "-p", place, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        try:
            wait(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0 or process.poll() is not None, "nginx")
            yield f"http://127.0.0.1:{port}" if process.poll() is None else None
        finally:
            process.terminate()
            process.wait(30)


def curl_seconds(url: str, *headers: str) -> float:
    """How long curl takes for a file that it throws away."""
    given = [part for header in headers for part in ("-H", header)]
    return seconds(lambda: subprocess.run(["curl", "-fsS", "-o", "/dev/null", *given, url], check=True))


def resident_megabytes(process: int, what: str) -> float:
    """``VmRSS`` or ``VmHWM`` of a process, in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not tell the resident size")


def records(instance: Instance) -> dict[str, FileRecord]:
    """The instance's files by name."""
    found = instance.request("files", limit=100)["items"]
    return {
        item["name"]: FileRecord(
            file_id=item["id"],
            node_id=item["node_id"],
            export_path=item["export_path"],
            name=item["name"],
            size=item["size"],
            mtime=0,
            inode=item["inode"],
        )
        for item in found
    }


def transfers(root: Path) -> dict[str, float]:
    """Megabytes per second of the whole file by curl, from a fresh instance and from nginx in turn; and by how many MiB
    the instance grows."""
    with running([root], 2) as instance, nginx(root) as peer:
        file = records(instance)[BIG]
        process = instance.process.pid
        curl_seconds(f"{instance.url}/api/health")
        Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak counts from now on
        before = resident_megabytes(process, "VmRSS")
        speeds = []
        for _ in range(AGAIN):
            speeds.append({"ours": file.size / 1e6 / curl_seconds(*transfer_of(instance, file))})
            if peer is not None:
                speeds[-1]["nginx"] = file.size / 1e6 / curl_seconds(f"{peer}/{BIG}")
        return {**medians(speeds), "growth": resident_megabytes(process, "VmHWM") - before}


def transfer_of(instance: Instance, file: FileRecord) -> tuple[str, str]:
    """The address of a file's bytes, and the header that opens it."""
    return f"{instance.url}/api/agent/transfer/{file.file_id}", f"Authorization: Bearer {instance.token}"


def transfer_rows(root: Path, rounds: int) -> list[Row]:
    """Ours and nginx in turn."""
    found = medians([transfers(root) for _ in range(rounds)])
    speed, growth = found["ours"], found["growth"]
    peers = {"nginx": found["nginx"]} if "nginx" in found else {}
    kept = speed >= 0.5 * peers["nginx"] if peers else None
    mib = (root / BIG).stat().st_size // MIB
    return [
        Row(
            f"transfer of {mib:,} MiB over loopback",
            speed,
            "MB/s",
            peers,
            "≥ 0.5 × nginx",
            kept,
            rounds=rounds * AGAIN,
        ),
        Row("growth of the server's resident memory", growth, "MiB", {}, "≤ 64 MiB", growth <= 64, rounds=rounds),
    ]


@contextlib.asynccontextmanager
async def reading(instance: Instance, url: str | None = None) -> AsyncIterator[tuple[CacheTier, Cache]]:
    """A fresh cache that reads from the instance, by another address when one is given."""
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-", dir=ROOT) as place:
        requests = PlainRequests(url or instance.url, {"Authorization": f"Bearer {instance.token}"})
        owners = Owners(lambda node_id: [Route(instance.url, requests)])
        cache = Cache(Path(place), owners, capacity=1 << 50, minimum_free=0)
        await cache.start()
        try:
            yield CacheTier("node-reader", cache), cache
        finally:
            await cache.close()
            await requests.close()


async def megabytes_per_second(tier: AccessTier, file: FileRecord) -> float:
    """Reading it from beginning to end, in big steps."""
    started = time.perf_counter()
    with await tier.open(file) as source:
        async for _ in source.stream(chunk=4 * MIB):
            pass
    return file.size / 1e6 / (time.perf_counter() - started)


async def cached_reads(instance: Instance, file: FileRecord, path: Path) -> dict[str, float]:
    """Megabytes per second of the first and the second read through a fresh cache, of curl, and of the same file as a
    local one."""
    local_tier = LocalTier(file.node_id, lambda: (os.fsencode(os.path.realpath(path.parent)),))
    found = {"curl": file.size / 1e6 / curl_seconds(*transfer_of(instance, file))}
    async with reading(instance) as (tier, _):
        found["cold"] = await megabytes_per_second(tier, file)
        again = [
            {"cached": await megabytes_per_second(tier, file), "local": await megabytes_per_second(local_tier, file)}
            for _ in range(AGAIN)
        ]
    return {**found, **medians(again)}


async def cache_rows(instance: Instance, file: FileRecord, path: Path, rounds: int) -> list[Row]:
    """Reads through a cache beside curl and beside local ones."""
    found = medians([await cached_reads(instance, file, path) for _ in range(rounds)])
    speed, plain = found["cached"], found["local"]
    return [
        Row("first read through the cache", found["cold"], "MB/s", {"curl": found["curl"]}, rounds=rounds),
        Row(
            "second read, from the cache",
            speed,
            "MB/s",
            {"local file": plain},
            "≥ 0.9 × local",
            speed >= 0.9 * plain,
            rounds=rounds * AGAIN,
        ),
    ]


@contextlib.asynccontextmanager
async def slow_line(url: str) -> AsyncIterator[str]:
    """An address that leads to ``url``, everything arriving half a round trip later."""
    target = urllib.parse.urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    def started(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pending: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)

        async def deliver() -> None:
            while True:
                due, data = await pending.get()
                await asyncio.sleep(due - time.monotonic())
                if not data:
                    writer.close()
                    return
                with contextlib.suppress(ConnectionError):  # the reader has seen enough
                    writer.write(data)
                    await writer.drain()

        delivering = started(deliver())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await pending.put((time.monotonic() + ROUND_TRIP_S / 2, data))
        await pending.put((time.monotonic() + ROUND_TRIP_S / 2, b""))
        await delivering

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(target.hostname, target.port)
        started(carry(reader, ours))
        started(carry(theirs, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def watch(instance: Instance, film: FileRecord) -> dict[str, float]:
    """Beginning, end, and then play here and there, as a player does when its user seeks: milliseconds to the first
    byte after the slowest seek, bytes fetched per byte watched, and intervals in the block map."""
    watched, first_bytes = 0, []
    async with slow_line(instance.url) as url, reading(instance, url) as (tier, cache):
        with await tier.open(film) as source:
            assert isinstance(source, CachedSource)
            watched += len(await source.read(0, 64 * 1024))
            watched += len(await source.read(film.size - MIB, MIB))
            for number in range(SEEKS):
                place = film.size * number // SEEKS // CHUNK * CHUNK + 8 * MIB
                started = time.perf_counter()
                watched += len(await source.read(place, CHUNK))
                first_bytes.append((time.perf_counter() - started) * 1000)
                for offset in range(place + CHUNK, place + 12 * MIB, CHUNK):
                    watched += len(await source.read(offset, CHUNK))
            intervals = len(source.kept)
        fetched = cache.usage.fetched
    return {"seek": max(first_bytes), "fetched": fetched / watched, "intervals": intervals}


async def film_rows(instance: Instance, film: FileRecord, rounds: int) -> list[Row]:
    """A film over a slow line, each round with a fresh cache."""
    found = medians([await watch(instance, film) for _ in range(rounds)])
    slowest, intervals, fetched = found["seek"], found["intervals"], "film: bytes fetched per byte watched"
    seek = f"film of 10 GB, first byte after a seek at {ROUND_TRIP_S * 1000:.0f} ms round trip, slowest of {SEEKS}"
    return [
        Row(seek, slowest, "ms", {}, "≤ 150 ms", slowest <= 150, rounds=rounds),
        Row(fetched, found["fetched"], "×", note=f"blocks of {BLOCK // MIB} MiB", rounds=rounds),
        Row("film: intervals in the block map", intervals, "", {}, "< 20", intervals < 20, rounds=rounds),
    ]


def run(scale: float = 1.0) -> list[Row]:
    """Measure; the big file is scaled, the film is not."""
    root = tree(scale)
    rounds = rounds_at(scale)
    transferred = transfer_rows(root, rounds)
    with running([root], 2) as instance:
        files = records(instance)
        cached = asyncio.run(cache_rows(instance, files[BIG], root / BIG, rounds))
        return [*transferred, *cached, *asyncio.run(film_rows(instance, files["film.mkv"], rounds))]
