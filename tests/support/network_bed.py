"""Several hosts on one machine: network namespaces on a bridge of their own, with links that can be cut and shaped.

Every host has its own address, loopback and port space; files and processes are those of the machine. Bandwidth is
shaped by the kernel (tbf), delay and loss too where it has netem (``has_netem``). Where it has none, ``Relay``, a proxy
in the wire's place, delays, and nothing can be lost: what needs that is skipped, and says so. Needs root and iproute2.
Nothing here reaches beyond the namespaces that it makes itself.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUBNET = "10.203.{net}.{host}"
FAKETIME = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")
_numbers = itertools.count(1)


def available() -> bool:
    """Whether this machine lets us make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"mosaic-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return made


@functools.cache
def has_netem() -> bool:
    """Whether the kernel can delay and lose packets; asked of it on the loopback of a namespace made for that."""
    name = f"mosaic-netem-{os.getpid()}"
    if not available() or shutil.which("tc") is None:
        return False
    _ip("netns", "add", name)
    try:
        asked = ["tc", "-n", name, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", "loss", "1%"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0
    finally:
        _ip("netns", "del", name)


def _ip(*words: str, inside: str | None = None) -> None:
    command = ["ip", *(() if inside is None else ("-n", inside)), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@dataclass
class Host:
    """One host. ``address`` is reachable from every other host of its network while the link is up."""

    name: str
    namespace: str
    address: str
    port: str  # the switch's end of its cable
    switch: str
    directory: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def _enter(self, namespace: str | None = None) -> Sequence[str]:
        """Enters the network alone: `ip netns exec` would take a mount namespace too, and mounts be seen by nobody."""
        return ("nsenter", f"--net=/run/netns/{namespace or self.namespace}", "--")

    def start(
        self, command: Sequence[str], *, clock: str | None = None, environment: Mapping[str, str] = {}, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program on the host; ``clock`` (``+10m``) moves the time of day that it sees."""
        made = subprocess.Popen(
            [*self._enter(), *command],
            env={**self.environment, **environment, **_moved(clock)},
            start_new_session=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        self.processes.append(made)
        return made

    def run(
        self,
        command: Sequence[str],
        *,
        clock: str | None = None,
        environment: Mapping[str, str] = {},
        timeout: float = 60,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the host to its end."""
        return subprocess.run(
            [*self._enter(), *command],
            env={**self.environment, **environment, **_moved(clock)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    def cut(self) -> None:
        """Pull its cable: packets vanish, nobody is told."""
        _ip("link", "set", self.port, "nomaster", inside=self.switch)

    def heal(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self.port, "master", "switch", inside=self.switch)

    def isolate(self) -> None:
        """Put it behind a wall: hosts that are isolated reach those that are not, and never one another."""
        command = [*self._enter(self.switch), "bridge", "link", "set", "dev", self.port, "isolated", "on"]
        subprocess.run(command, check=True, capture_output=True)

    def shape(self, rate: str) -> None:
        """Bound what leaves and reaches it (``1gbit``)."""
        self._queue("tbf", "rate", rate, "burst", "256k", "latency", "50ms")

    def disturb(self, delay_ms: float = 0.0, loss_percent: float = 0.0) -> None:
        """Keep what leaves and reaches it back for so long, and lose so much of it (needs ``has_netem``); the last of
        ``shape`` and this holds."""
        self._queue("netem", "delay", f"{delay_ms}ms", "loss", f"{loss_percent}%")

    def _queue(self, *words: str) -> None:
        for namespace, device in ((self.namespace, "wire"), (self.switch, self.port)):
            command = [*self._enter(namespace), "tc", "qdisc", "replace", "dev", device, "root", *words]
            subprocess.run(command, check=True, capture_output=True)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL the process and all that it started in its session."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def stop(self) -> None:
        """End all that runs on it."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill(process)


class Network:
    """A switch and the hosts on it. Leave it with ``close``; it ends what runs there and takes the namespaces away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = next(_numbers)
        self._tag = f"mf{os.getpid()}n{self._number}"
        self._switch = f"{self._tag}s"
        self.hosts: dict[str, Host] = {}
        _ip("netns", "add", self._switch)
        _ip("link", "add", "switch", "type", "bridge", inside=self._switch)
        _ip("link", "set", "switch", "up", inside=self._switch)

    def host(self, name: str) -> Host:
        """Add a host with a directory of its own as its HOME."""
        number = len(self.hosts) + 1
        namespace, port = f"{self._tag}h{number}", f"p{number}"
        address = SUBNET.format(net=self._number % 250, host=number + 10)
        _ip("netns", "add", namespace)
        _ip("link", "add", "wire", "netns", namespace, "type", "veth", "peer", "name", port, "netns", self._switch)
        _ip("addr", "add", f"{address}/24", "dev", "wire", inside=namespace)
        _ip("link", "set", "lo", "up", inside=namespace)
        _ip("link", "set", "wire", "up", inside=namespace)
        _ip("link", "set", port, "up", inside=self._switch)
        _ip("link", "set", port, "master", "switch", inside=self._switch)
        home = self._directory / name
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MOSAICFS_", "XDG_"))}
        made = Host(name, namespace, address, port, self._switch, home, {**kept, "HOME": str(home)})
        self.hosts[name] = made
        return made

    def close(self) -> None:
        """End everything."""
        for host in self.hosts.values():
            host.stop()
        for host in self.hosts.values():
            _ip("netns", "del", host.namespace)
        _ip("netns", "del", self._switch)


def _moved(clock: str | None) -> dict[str, str]:
    """The environment in which a process sees another time of day; monotonic clocks stay true."""
    if clock is None:
        return {}
    if not FAKETIME.exists():
        raise RuntimeError("moving clocks needs libfaketime (Debian: faketime)")
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Relay:
    """A TCP proxy that keeps every byte back for ``delay_s`` in each direction, as a long wire would.

    It keeps the rate: bytes are delayed, not throttled. ``async with Relay(...) as relay`` listens on ``relay.port``.
    """

    def __init__(self, target: tuple[str, int], delay_s: float, host: str = "127.0.0.1") -> None:
        self._target = target
        self._delay_s = delay_s
        self._host = host
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            back.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

        async def deliver() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    sink.write_eof()
                    return
                sink.write(data)
                await sink.drain()

        delivery = asyncio.create_task(deliver())
        try:
            while data := await source.read(1 << 16):
                await waiting.put((loop.time() + self._delay_s, data))
            await waiting.put((loop.time() + self._delay_s, b""))
            await delivery
        finally:
            delivery.cancel()
