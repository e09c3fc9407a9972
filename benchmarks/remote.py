"""Files of another machine through the mount: three hosts in network namespaces, their links shaped to 1 Gbit/s.

The peers read over the same link in the same run: curl from the very agent that the mount reads from, and
``rclone mount`` of an HTTP server on that host. Needs root, iproute2 and FUSE.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import mount_loads as loads
from benchmarks.rows import Row, seconds
from mosaicfs_core.config import AgentConfig
from mosaicfs_core.home import Home
from mosaicfs_core.security import enrolment, signatures
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from machines import Machine, eventually
from network_bed import Network

ROUNDS = 5
LINK = "1gbit"
HTTP_PORT = 8099
CHANGES = 50
FULL_MIB = 256


@contextlib.contextmanager
def three_machines(mib: int) -> Iterator[tuple[Machine, Machine]]:
    """A reader with a mount and an owner with ``ROUNDS`` files of so many MiB, enrolled with one control plane."""
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as place:
        network = Network(Path(place))
        try:
            nas, reader, owner = (Machine(network.host(name)) for name in ("nas", "reader", "owner"))
            block = os.urandom(1 << 20)
            for number in range(ROUNDS):
                with open(owner.tree / f"film-{number}.bin", "wb") as film:
                    for part in range(mib):
                        film.write(part.to_bytes(8) + block[8:])
            url = nas.serve()
            for machine in (reader, owner):
                machine.enrol(nas, url)
                machine.start("agent", "run", str(machine.tree), "--mount", str(machine.mount))
                machine.host.shape(LINK)
            eventually(lambda: reader.seen(owner, f"film-{ROUNDS - 1}.bin").stat().st_size == mib << 20, 120)
            yield reader, owner
            for machine in (reader, owner, nas):
                machine.end()
                machine.unmount()
        finally:
            network.close()


def curl_command(reader: Machine, owner: Machine, name: str, place: Path) -> list[str]:
    """curl of a file from its owner's agent, signed as the reader's agent signs."""
    home = Home(reader.home)
    known = enrolment.load(home)
    assert known is not None
    file_id = reader.run("files", "search", name)["items"][0]["id"]
    theirs = NodeKey.of_home(Home(owner.home)).public
    signer = NodeSigner(known.node_id, NodeKey.of_home(home), lambda _: theirs)
    path = f"/api/agent/transfer/{file_id}"
    target = signatures.Target(
        method="GET", destination=owner.node_id, path=path, range="", body_sha256=signatures.sha256_of(None)
    )
    header = signatures.authorization(signer.key_for(owner.node_id), signer.key_id, target)
    secret, authority = place / "header", place / "ca.pem"
    secret.write_text(f"Authorization: {header}\n")
    authority.write_text(known.ca_pem)
    port = AgentConfig().listen_port
    reached = f"{owner.node_id}:{port}:{owner.host.address}"
    return [
        *("curl", "-fsS", "-o", "/dev/null", "-H", f"@{secret}", "--cacert", str(authority), "--resolve", reached),
        f"https://{owner.node_id}:{port}{path}",
    ]


@contextlib.contextmanager
def rclone(reader: Machine, owner: Machine) -> Iterator[Path | None]:
    """``rclone mount`` on the reader of an HTTP server on the owner; None where rclone is not installed."""
    if shutil.which("rclone") is None:
        yield None
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    serve = ["rclone", "serve", "http", str(owner.tree), "--addr", f"{owner.host.address}:{HTTP_PORT}"]
    owner.host.start(serve, **quiet)
    point = reader.host.directory / "rclone"
    point.mkdir()
    address = f"http://{owner.host.address}:{HTTP_PORT}"
    cached = ["--vfs-cache-mode", "full", "--cache-dir", str(reader.host.directory / "rclone-cache")]
    reader.host.start(["rclone", "mount", ":http:", str(point), "--http-url", address, "--read-only", *cached], **quiet)
    eventually(lambda: (point / "film-0.bin").exists())
    try:
        yield point
    finally:
        subprocess.run(["fusermount3", "-uz", str(point)], check=False)


def reads(reader: Machine, owner: Machine) -> dict[str, float]:
    """Median seconds (``curl``, ``cold``, ``rclone cold``) and MB/s (``cached``, ``local``, ``rclone cached``)."""
    taken: dict[str, list[float]] = defaultdict(list)
    mine = reader.tree / "local.bin"
    shutil.copyfile(owner.tree / "film-0.bin", mine)
    local = reader.mount / "machines" / "reader" / "tree" / "local.bin"
    eventually(lambda: local.stat().st_size == mine.stat().st_size)
    with rclone(reader, owner) as other, tempfile.TemporaryDirectory() as place:
        for number in range(ROUNDS):
            name = f"film-{number}.bin"
            command = curl_command(reader, owner, name, Path(place))
            turns: list[tuple[str, Callable[[], object]]] = [
                ("curl", lambda command=command: reader.host.run(command, timeout=300).check_returncode()),
                ("cold", lambda name=name: loads.sequential(reader.seen(owner, name))),
            ]
            if other is not None:
                turns.append(("rclone cold", lambda name=name, other=other: loads.sequential(other / name)))
            for what, action in turns[number % len(turns) :] + turns[: number % len(turns)]:
                loads.drop_caches()
                taken[what].append(seconds(action))
            for what, path in (("cached", reader.seen(owner, name)), ("local", local)):
                loads.sequential(path)
                taken[what].append(loads.sequential(path))
            if other is not None:
                loads.sequential(other / name)
                taken["rclone cached"].append(loads.sequential(other / name))
    return {what: statistics.median(values) for what, values in taken.items()}


def visible(reader: Machine, owner: Machine, count: int) -> list[float]:
    """Seconds from writing a file on one machine to reading it on another's mount."""
    found = []
    for number in range(count):
        name = f"note-{number}.txt"
        (owner.tree / name).write_text(name)
        begun = time.perf_counter()
        eventually(lambda name=name: reader.seen(owner, name).read_text() == name)
        found.append(time.perf_counter() - begun)
    return found


def run(scale: float = 1.0) -> list[Row]:
    """The promises about files of other machines."""
    mib = max(64, int(FULL_MIB * scale))
    with three_machines(mib) as (reader, owner):
        figures = reads(reader, owner)
        waits = sorted(visible(reader, owner, max(5, int(CHANGES * scale))))
    cold = {"curl": figures["curl"]}
    cached = {"local": figures["local"]}
    if "rclone cold" in figures:
        cold["rclone"], cached["rclone"] = figures["rclone cold"], figures["rclone cached"]
    ratio = figures["cold"] / figures["curl"]
    p99 = waits[min(len(waits) - 1, int(len(waits) * 0.99))]
    return [
        Row(
            f"first read of {mib} MiB over {LINK}",
            figures["cold"],
            "s",
            cold,
            "≤ 1.3 × curl",
            ratio <= 1.3,
            rounds=ROUNDS,
        ),
        Row(
            "second read of a remote file, sequential",
            figures["cached"],
            "MB/s",
            cached,
            "≥ 0.9 × local",
            figures["cached"] >= 0.9 * figures["local"],
            rounds=ROUNDS,
        ),
        Row(
            "a change seen on another machine's mount, p99",
            p99,
            "s",
            {},
            "≤ 2 s",
            p99 <= 2.0,
            f"median {statistics.median(waits):.2f} s",
            len(waits),
        ),
    ]
