"""Transfer beside nginx serving the same file; the cache beside the bare disk; a film with seeks over a slow line.

The server is a real ``mosaicfs up``. The reader is a cache in this process: what another machine's agent would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from benchmarks.instance import Instance, running, wait
from benchmarks.rows import ROUNDS, Row, median_seconds
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


def tree(scale: float) -> Path:
    """A file of 1 GiB of random bytes (scaled), and a sparse film of 10 GB."""
    root = ROOT / f"transfer-{scale:g}"
    mark = ROOT / f"transfer-{scale:g}.complete"
    if not mark.exists():
        root.mkdir(parents=True, exist_ok=True)
        with open(root / "big.bin", "wb") as big:
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
    return median_seconds(lambda: subprocess.run(["curl", "-fsS", "-o", "/dev/null", *given, url], check=True))


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


def transfer_rows(instance: Instance, file: FileRecord, root: Path) -> list[Row]:
    """The whole file by curl: from us and from nginx, in turn; and what our process grows by."""
    url, key = f"{instance.url}/api/agent/transfer/{file.file_id}", f"Authorization: Bearer {instance.token}"
    curl_seconds(f"{instance.url}/api/health")
    Path(f"/proc/{instance.process.pid}/clear_refs").write_text("5")  # the peak counts from now on
    before = resident_megabytes(instance.process.pid, "VmRSS")
    peers = {}
    with nginx(root) as peer:
        ours = curl_seconds(url, key)
        if peer is not None:
            peers["nginx"] = file.size / 1e6 / curl_seconds(f"{peer}/{file.name}")
    growth = resident_megabytes(instance.process.pid, "VmHWM") - before
    speed = file.size / 1e6 / ours
    kept = speed >= 0.5 * peers["nginx"] if peers else None
    return [
        Row(
            f"transfer of {file.size // MIB:,} MiB over loopback",
            speed,
            "MB/s",
            peers,
            "≥ 0.5 × nginx",
            kept,
            rounds=ROUNDS,
        ),
        Row("growth of the server's resident memory", growth, "MiB", {}, "≤ 64 MiB", growth <= 64),
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


async def read_all(tier: AccessTier, file: FileRecord) -> None:
    """From beginning to end, in big steps."""
    with await tier.open(file) as source:
        async for _ in source.stream(chunk=4 * MIB):
            pass


async def cache_rows(instance: Instance, file: FileRecord, path: Path) -> list[Row]:
    """The first and the second read through a cache, beside curl and beside the same file as a local one."""
    curl = curl_seconds(f"{instance.url}/api/agent/transfer/{file.file_id}", f"Authorization: Bearer {instance.token}")
    local_tier = LocalTier(file.node_id, lambda: (os.fsencode(os.path.realpath(path.parent)),))
    async with reading(instance) as (tier, _):
        started = time.perf_counter()
        await read_all(tier, file)
        cold = time.perf_counter() - started
        cached, local = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            await read_all(tier, file)
            cached.append(time.perf_counter() - started)
            started = time.perf_counter()
            await read_all(local_tier, file)
            local.append(time.perf_counter() - started)
    speed, plain = (file.size / 1e6 / statistics.median(taken) for taken in (cached, local))
    return [
        Row("first read through the cache", file.size / 1e6 / cold, "MB/s", {"curl": file.size / 1e6 / curl}),
        Row(
            "second read, from the cache",
            speed,
            "MB/s",
            {"local file": plain},
            "≥ 0.9 × local",
            speed >= 0.9 * plain,
            rounds=ROUNDS,
        ),
    ]


@contextlib.asynccontextmanager
async def slow_line(url: str) -> AsyncIterator[str]:
    """An address that leads to ``url``, everything arriving half a round trip later."""
    target = urllib.parse.urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

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

        delivering = asyncio.create_task(deliver())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await pending.put((time.monotonic() + ROUND_TRIP_S / 2, data))
        await pending.put((time.monotonic() + ROUND_TRIP_S / 2, b""))
        await delivering

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(target.hostname, target.port)
        for work in (carry(reader, ours), carry(theirs, writer)):
            task = asyncio.create_task(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def film_rows(instance: Instance, film: FileRecord) -> list[Row]:
    """Beginning, end, and then play here and there, as a player does when its user seeks."""
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
    slowest = max(first_bytes)
    seek = f"film of 10 GB, first byte after a seek at {ROUND_TRIP_S * 1000:.0f} ms round trip, slowest of {SEEKS}"
    return [
        Row(seek, slowest, "ms", {}, "≤ 150 ms", slowest <= 150),
        Row("film: bytes fetched per byte watched", fetched / watched, "×", note=f"blocks of {BLOCK // MIB} MiB"),
        Row("film: intervals in the block map", intervals, "", {}, "< 20", intervals < 20),
    ]


def run(scale: float = 1.0) -> list[Row]:
    """Measure; the big file is scaled, the film is not."""
    root = tree(scale)
    measured: list[Callable[[], list[Row]]]
    with running([root], 2) as instance:
        files = records(instance)
        big, film = files["big.bin"], files["film.mkv"]
        measured = [
            lambda: transfer_rows(instance, big, root),
            lambda: asyncio.run(cache_rows(instance, big, root / "big.bin")),
            lambda: asyncio.run(film_rows(instance, film)),
        ]
        return [row for part in measured for row in part()]
