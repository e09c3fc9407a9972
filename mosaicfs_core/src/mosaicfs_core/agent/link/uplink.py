"""What is between a running agent and its control plane but replication: the link, the heartbeat, first instances."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final

import aiohttp
import msgspec

from mosaicfs_core.agent.agent import Agent
from mosaicfs_core.agent.link.client import Connect, Link
from mosaicfs_core.agent.link.methods import AgentMethods
from mosaicfs_core.agent.link.push import Pusher
from mosaicfs_core.agent.link.wanted import WantedFolders
from mosaicfs_core.agent.node import write_node
from mosaicfs_core.documents import times
from mosaicfs_core.errors import MosaicError, Unavailable, UserError
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instances
from mosaicfs_core.security.answers import error_of
from mosaicfs_core.security.requests import Requests
from mosaicfs_core.security.signatures import WARNED_SKEW_S, describe_skew
from mosaicfs_core.supervision import end_tasks, supervised

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 30.0
RECONCILE_S: Final = 300.0
"""A link that comes and goes lets everything be looked at again no more often than this."""
FOLDERS_AT_ONCE: Final = 100
DESCRIBED_AT_ONCE: Final = 100
CAPABILITIES: Final = frozenset({"relay"})


class Uplink:
    """``async with Uplink(…)`` runs it around a block.

    ``requests`` and ``connect`` lead to the control plane, ``endpoints`` tells at which addresses other nodes reach
    this one at the moment, ``reconnected`` is called when the control plane is there again.
    """

    def __init__(
        self,
        core: CoreServices,
        agent: Agent,
        requests: Requests,
        connect: Connect,
        *,
        endpoints: Callable[[], Sequence[str]] = tuple,
        reconnected: Callable[[], None] | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = core
        self._agent = agent
        self._requests = requests
        self._endpoints = endpoints
        self._wanted = WantedFolders(core.store)
        self._reconnected = reconnected
        self._pause = pause
        self._clock = clock
        self._reconciled: float | None = None
        self._beat_problem: str | None = None
        self._skew_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._methods = AgentMethods(core, agent, Pusher(core, requests, self._ask))
        self.link = Link(connect, self._methods.table, self._up, pause=pause)

    async def __aenter__(self) -> Uplink:
        self._agent.subsystems["link"] = self.subsystem
        self._core.ask_control = self._ask_control
        self._core.rescans.listeners.append(self._look_again)
        self._agent.roots_changed.append(self._describe)
        self._agent.instances_changed.append(self._tell_facts)
        for name, work in (("control plane link", self.link.run), ("heartbeat", self._beat)):
            self._tasks.append(asyncio.create_task(supervised(name, work, self._core.failing), name=name))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._core.ask_control = None
        await self._core.rescans.leave(self._look_again)
        await end_tasks(*self._tasks)
        await self._methods.close()
        self._agent.roots_changed.remove(self._describe)
        self._agent.instances_changed.remove(self._tell_facts)
        self._agent.subsystems.pop("link", None)

    def subsystem(self) -> dict[str, Any]:
        """How the connection is, as it stands in the agent's status."""
        state = self.link.state
        # An answer to a request says why; a connection that is refused does not.
        problem = self._beat_problem or (None if state.connected else state.problem)
        if problem is None and abs(self._skew_s) > WARNED_SKEW_S:
            off = describe_skew(self._skew_s)
            problem = f"the clock here is {off} the control plane's; beyond 5 minutes it refuses what is asked of it"
        return {
            "status": "healthy" if state.connected and problem is None else "degraded",
            "detail": problem or ("" if state.connected else "not connected yet"),
            "connected": state.connected,
            "clock_off_s": round(self._skew_s) if abs(self._skew_s) > WARNED_SKEW_S else 0,
            "control_plane": self._core.control_url,
            "since": None if state.since is None else times.format_time(int(state.since * 1_000_000)),
        }

    async def _ask(self, method: str, params: Any) -> Any:
        return await self.link.call(method, params)

    async def _ask_control(self, method: str, params: Mapping[str, Any], timeout: float) -> Any:
        if not (state := self.link.state).connected:
            why = state.problem or "it has not answered yet"
            raise Unavailable(f"it is asked through the control plane, which is not connected: {why}")
        return await self.link.call(method, params, timeout)

    async def _up(self, again: bool) -> None:
        """The link is up: what the control plane should know, and what may have been missed meanwhile."""
        if again and self._reconnected is not None:
            self._reconnected()
        await self._seed()
        await self._tell_facts()
        await self._tell_folders()
        await self._describe()
        now = self._clock()
        if again and (self._reconciled is None or now - self._reconciled >= RECONCILE_S):
            self._reconciled = now
            self._agent.reconcile()

    async def _seed(self) -> None:
        """Ask for the instances that the packages here want by default."""
        documents = Instances(self._core).defaults()
        facts = ("settings_schema", "watches", "answers", "provides_filesystem", "file_path_prefix")
        fields = ("plugin_name", "package", "name", *facts)
        wanted = [{key: one[key] for key in fields if one.get(key) is not None} for one in documents]
        await self.link.call("seed", {"instances": wanted})

    async def _look_again(self) -> None:
        """Other plugins are installed; without a connection that is told once there is one."""
        if self.link.state.connected:
            await self._seed()

    async def _tell_facts(self) -> None:
        """Say what packages are whose instances were made where they are not installed."""
        lacking = self._agent.undescribed()
        if lacking and self.link.state.connected:
            await self.link.call("seed", {"described": lacking[:DESCRIBED_AT_ONCE]})

    async def _tell_folders(self) -> None:
        """Ask for the folders that this machine was started with. What is refused once would be so again: only that is
        given up, so after a refusal they are told one by one."""
        at_once = FOLDERS_AT_ONCE
        while folders := (await self._wanted.waiting())[:at_once]:
            try:
                await self.link.call("seed", {"paths": folders})
            except UserError as error:
                if len(folders) > 1:
                    at_once = 1
                    continue
                logger.error("not indexed, as the control plane refuses it: %s: %s", folders[0], error)
            await self._wanted.told(folders)

    async def _describe(self) -> None:
        """The addresses of a laptop change with the network that it is in, the folders with its settings."""
        self._core.offers["link"] = CAPABILITIES
        await write_node(self._core, endpoints=self._endpoints())

    async def _beat(self) -> None:
        while True:
            try:
                await self._one_beat()
                self._beat_problem = None
            except MosaicError as error:
                self._beat_problem = error.message
            await self._pause(HEARTBEAT_S)

    async def _one_beat(self) -> None:
        """Say that we are there. Raises ``Unavailable``."""
        body = msgspec.json.encode({"overall": str(self._agent.status()["overall"])})
        headers = {"Content-Type": "application/json"}
        try:
            asked = times.now_micros()
            async with self._requests.request(
                "POST", "/api/agent/heartbeat", body=body, headers=headers, timeout=HEARTBEAT_S
            ) as answer:
                data = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"the control plane cannot be reached: {str(error) or type(error).__name__}") from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            refusal = error_of(answer.status, answer.reason or "", None, data)
            raise Unavailable(f"the control plane refused the heartbeat: {refusal.message}")
        self._skew_s = skew_told(asked, times.now_micros(), data)


class _Beaten(msgspec.Struct):
    """What a heartbeat is answered with, as far as it is of use here."""

    time: str


def skew_told(asked: int, now: int, data: bytes) -> float:
    """How far the clock here is ahead of the control plane's, in seconds, by its answer: it looked at its own some time
    between ``asked`` and ``now`` (µs, by the clock here). Pure."""
    try:
        theirs = times.parse_canonical(msgspec.json.decode(data, type=_Beaten).time)
    except (msgspec.DecodeError, UserError):
        return 0.0
    off = max(asked - theirs, 0) or min(now - theirs, 0)
    return off / times.MICROS_PER_SECOND
