"""A control plane's link to its hub: both replications, the lease, and what is said of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from mosaicfs_core.backoff import Backoff
from mosaicfs_core.errors import ConfigError, MosaicError, NotAllowed, NotSignedIn, PluginError, Unavailable
from mosaicfs_core.hooks import Hub, HubAddress
from mosaicfs_core.lease import SoleLease
from mosaicfs_core.plugins.containment import as_plugin_error
from mosaicfs_core.plugins.context import CoreServices, InstanceContext
from mosaicfs_core.replication import Filter, HttpPeer, Replicator, Status, StorePeer, Surroundings, combined
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.server.hub.address import hub_address
from mosaicfs_core.server.hub.leasing import LeaseKeeper, Timing
from mosaicfs_core.server.hub.presence import Presence
from mosaicfs_core.server.identity import control_planes, identity_of
from mosaicfs_core.store import Store
from mosaicfs_core.supervision import end_tasks, supervised

logger = logging.getLogger(__name__)

HOOK: Final = "mosaicfs_hub"
REQUEST_S: Final = 60.0
"""Preparing the database, or a round of the lease, is given up after this."""


def _no_design_document(document: Mapping[str, Any]) -> bool:
    return not str(document.get("_id", "")).startswith("_design/")


FROM_HUB: Final = Filter(name="no design documents", accepts=_no_design_document)
"""What comes from a hub: all but CouchDB's own indexes and checks, which mean nothing to a replica."""


@dataclass(frozen=True, slots=True)
class HubStatus:
    """How a link stands. ``prepared`` is whether the hub has answered since the last failure; ``last_error`` says why
    not."""

    url: str
    prepared: bool
    replication: Status
    lease: Mapping[str, Any]
    last_error: str | None = None


class HubLink:
    """Replicates a store with a hub, everything both ways, keeps the lease there, and says that ``holder`` is there,
    for as long as ``run`` runs.

    ``lease`` is to be asked before what must happen once. It is not held while the hub cannot be reached.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        url: str,
        holder: str,
        *,
        plugin: str = "",
        timing: Timing | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._hub, self._url, self._plugin = hub, url, plugin
        self._timing, self._surroundings = timing or Timing(), surroundings or Surroundings()
        self.lease = LeaseKeeper(hub, holder, self._timing)
        self._store, self._holder = store, holder
        self._presence = Presence(hub, holder, self._timing)
        access = hub.access()
        self._requests = PlainRequests(access.base_url, access.headers, access.ca_pem)
        near = StorePeer(store)
        far = HttpPeer(self._requests, access.path, address=access.base_url)
        self._push = Replicator(near, far, direction="push", surroundings=surroundings)
        self._pull = Replicator(far, near, direction="pull", chosen=FROM_HUB, surroundings=surroundings)
        self._replicating: list[asyncio.Task[None]] = []
        self._prepared = False
        self._last_error: str | None = None

    @property
    def status(self) -> HubStatus:
        """How it stands."""
        replication = combined((self._push.status, self._pull.status))
        return HubStatus(self._url, self._prepared, replication, self.lease.facts(), self._last_error)

    def facts(self) -> dict[str, Any]:
        """``status`` for the API."""
        now = self.status
        found = now.replication
        error = now.last_error or found.last_error
        well = now.prepared and error is None
        detail = _described(now, error)
        return {
            "status": "healthy" if well else "degraded",
            "detail": detail,
            "url": now.url,
            "state": found.state if self._replicating else "waiting",
            "pushed": found.pushed,
            "pulled": found.pulled,
            "pending": found.pending,
            "lag_s": round(found.lag_s, 1),
            "refused": found.refused,
            "owed": found.owed,
            "last_error": error,
            "lease": dict(now.lease),
        }

    def silent(self, plane: str) -> bool:
        """Whether another control plane of this hub has not been heard of for minutes, while it could have been."""
        return self._presence.silent(plane)

    async def run(self) -> None:
        """Replicate and keep the lease until cancelled, whatever becomes of the hub. Nothing here waits for it."""
        try:
            backoff = Backoff(self._surroundings.random)
            while True:
                wait = self._timing.renew_s
                if await self._round():
                    backoff.reset()
                else:
                    wait = backoff.next()
                await self._surroundings.sleep(wait)
        finally:
            replicating, self._replicating = self._replicating, []
            await end_tasks(*replicating)
            await self._let_go()

    async def _round(self) -> bool:
        """Prepare the hub if it is not known to be, replicate, and look at the lease; whether that worked."""
        waiting = "waiting" in (self._push.status.state, self._pull.status.state)
        try:
            async with asyncio.timeout(REQUEST_S):
                if waiting or not self._prepared:
                    await self._hub.prepare()
                self._replicate()
                await self.lease.round()
                if self._presence.due:
                    await self._presence.round(await control_planes(self._store) - {self._holder})
        except TimeoutError:
            return self._failed(Unavailable(f"the hub {self._url} did not answer in {REQUEST_S:g} s"))
        except MosaicError as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - the edge to a plugin
            return self._failed(as_plugin_error(self._plugin, HOOK, error))
        if not self._prepared:
            logger.info("the hub %s answers", self._url, extra={"operation": "hub"})
        self._prepared, self._last_error = True, None
        return True

    def _replicate(self) -> None:
        """Begin, or try again at once: the database answers, also where the lease is not to be had."""
        if not self._replicating:
            self._replicating = [
                asyncio.create_task(one.run(), name=f"hub {name}")
                for name, one in (("push", self._push), ("pull", self._pull))
            ]
        for one in (self._push, self._pull):
            if one.status.state == "waiting":
                one.wake()

    async def _let_go(self) -> None:
        try:
            await self.lease.give_back()
            await self._hub.close()
        except Exception as error:  # noqa: BLE001 - the edge to a plugin, at the end of everything
            logger.info("the hub was left without a farewell: %s", as_plugin_error(self._plugin, HOOK, error).message)
        await self._requests.close()

    def _failed(self, error: MosaicError) -> bool:
        if error.message != self._last_error:
            # Said once, not at every attempt; what a person must mend, louder than what passes.
            level = logging.WARNING if isinstance(error, NotSignedIn | NotAllowed | PluginError) else logging.INFO
            logger.log(level, "the hub cannot be used: %s", error.message, extra={"operation": "hub"})
        self._prepared, self._last_error = False, error.message
        return False


def _described(now: HubStatus, error: str | None) -> str:
    if error is not None:
        return error
    if not now.prepared:
        return f"{now.url} has not answered yet"
    holder = "this control plane" if now.lease["held"] else now.lease["holder"] or "nobody"
    return f"{now.replication.state}, {now.replication.pending} documents to go; the lease is held by {holder}"


def hub_of(core: CoreServices, address: HubAddress) -> tuple[str, Hub]:
    """The plugin that speaks to the hub at this address, and the hub. Raises ``ConfigError`` when none does."""
    providers = core.host.providers(HOOK)
    for plugin in providers:
        try:
            hub = core.host.register(plugin, HOOK, context=InstanceContext(core, plugin.name), address=address)
        except PluginError as error:
            core.host.record(error)
            continue
        if hub is not None:
            return plugin.name, hub
    asked = ", ".join(plugin.name for plugin in providers)
    known = (
        f"of the plugins {asked} none takes it" if asked else "no plugin for hubs is installed and working (couchdb)"
    )
    raise ConfigError(f"hub.url: there is nothing here that can use {address.url}: {known}")


@asynccontextmanager
async def running_hub(core: CoreServices, *, timing: Timing | None = None) -> AsyncIterator[HubLink | None]:
    """The link to the hub around a block, where one is configured: ``core.hub`` and ``core.lease`` are set. Without one
    the lease is this control plane's. Enter it before what asks for the lease, so that this has ended when the lease is
    given back. Raises ``ConfigError``."""
    config = core.config.hub
    if not config.url:
        core.hub, core.lease = None, SoleLease()
        yield None
        return
    address = hub_address(core.home, config)
    plugin, hub = hub_of(core, address)
    holder = (await identity_of(core)).node_id
    link = HubLink(core.store, hub, address.url, holder, plugin=plugin, timing=timing)
    core.hub, core.lease = link, link.lease
    task = asyncio.create_task(supervised("hub", link.run, core.failing), name="hub")
    try:
        yield link
    finally:
        await end_tasks(task)
        core.hub = None  # and the lease stays what it is now: not ours
