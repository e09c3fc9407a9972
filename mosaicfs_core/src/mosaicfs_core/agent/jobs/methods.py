"""What can be asked of a node about its plugins at work, by its own routes as by the control plane over the link: plain
data in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mosaicfs_core.agent.jobs.asking import MOST_TEXT, Asked, Omitted, Question, ask_all
from mosaicfs_core.agent.jobs.keeper import JobKeeper
from mosaicfs_core.agent.jobs.offers import Offer
from mosaicfs_core.documents import ids
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import NotFound, Unavailable
from mosaicfs_core.hooks import RunningPlugin
from mosaicfs_core.jobs import JobStatus, WhichAnnotations
from mosaicfs_core.link import Method, params_of
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.running.installed import rescan

InstanceName = Annotated[str, Meta(pattern=f"^{ids.INSTANCE_PATTERN}{END}")]
MAX_JOBS = 500


class JobsParams(msgspec.Struct, frozen=True, kw_only=True):
    """As ``GET nodes/{id}/plugins/{name}/jobs``."""

    instance: InstanceName
    status: JobStatus = "pending"
    after: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_JOBS)] = 100


class RetryParams(msgspec.Struct, frozen=True, kw_only=True):
    """As ``POST nodes/{id}/plugins/{name}/jobs/retry``; without ``sequences`` all that failed."""

    instance: InstanceName
    sequences: Annotated[tuple[int, ...], Meta(max_length=10_000)] | None = None


class FullSyncParams(msgspec.Struct, frozen=True, kw_only=True):
    """As ``POST nodes/{id}/plugins/{name}/sync``; without ``instance`` all that take file events."""

    instance: InstanceName | None = None


class JobMethods:
    """The methods over one keeper, by name in ``table``."""

    def __init__(self, core: CoreServices, keeper: JobKeeper) -> None:
        self._core, self._keeper = core, keeper

    @property
    def table(self) -> Mapping[str, Method]:
        """By name."""
        return {
            "annotations_forget": self.annotations_forget,
            "full_sync": self.full_sync,
            "jobs": self.jobs,
            "jobs_retry": self.jobs_retry,
            "query": self.query,
            "rescan": self.rescan,
        }

    async def query(self, given: dict[str, Any]) -> Any:
        """Ask this node's plugins. Raises ``Unavailable`` while it is not known which there are."""
        question = params_of(Question, given)
        offers = self._keeper.offers()
        if not offers and self._core.lacking is None:
            raise Unavailable("its plugins are being started")
        answering = [  # before anything is awaited: an instance may go meanwhile
            (name, endpoint, *self._keeper.running(name))
            for name, offer in offers.items()
            for endpoint in offer.endpoints
            if endpoint.capability == question.capability
        ]
        asked: dict[Asked, RunningPlugin] = {}
        for name, endpoint, running, package in answering:
            waiting, syncing = await self._left(name)
            asked[Asked(name=name, package=package, endpoint=endpoint, waiting=waiting, syncing=syncing)] = running
        lacking = self._lacking(question.capability, offers)
        answers = await ask_all(self._core.node_id, question, asked)
        return msgspec.to_builtins(msgspec.structs.replace(answers, omitted=(*answers.omitted, *lacking)))

    def _lacking(self, capability: str, offers: Mapping[str, Offer]) -> list[Omitted]:
        """The instances that are there to answer this and cannot; since when, as this node told it."""
        node_id = self._core.node_id
        document = self._core.store.reader.get(ids.node_document_id(node_id)) or {}
        since = {(one["capability"], one["plugin_name"]): one["since"] for one in document.get("lacking", ())}
        return [
            Omitted(
                node_id=node_id,
                plugin_name=name,
                reason=offer.detail[:MOST_TEXT],
                since=since.get((capability, name)),
            )
            for name, offer in offers.items()
            if capability in offer.lacking
        ]

    async def _left(self, instance: str) -> tuple[int, bool]:
        """How many files wait for an instance, and whether a full sync finds more."""
        try:
            standing = await self._keeper.queue.standing(instance)
        except NotFound:  # it takes no files
            return 0, False
        return standing.files_left, standing.sync is not None

    async def jobs(self, given: dict[str, Any]) -> Any:
        """Jobs of an instance, and how its queue stands."""
        asked = params_of(JobsParams, given)
        self._keeper.check_takes_events(asked.instance)
        page = await self._keeper.queue.jobs(asked.instance, asked.status, after=asked.after, limit=asked.limit)
        standing = await self._keeper.queue.standing(asked.instance)
        return {
            **msgspec.to_builtins(page),
            "standing": msgspec.to_builtins(standing),
            "waits": self._keeper.waits(asked.instance),
        }

    async def jobs_retry(self, given: dict[str, Any]) -> dict[str, int]:
        """Let failed jobs be tried again."""
        asked = params_of(RetryParams, given)
        self._keeper.check_takes_events(asked.instance)
        return {"retried": await self._keeper.queue.retry(asked.instance, asked.sequences)}

    async def annotations_forget(self, given: dict[str, Any]) -> dict[str, int]:
        """Take away annotations that this node made, and have their files processed again."""
        return {"deleted": await self._keeper.queue.forget(params_of(WhichAnnotations, given))}

    async def rescan(self, _given: dict[str, Any]) -> Any:
        """Look again at what is installed on this node."""
        return msgspec.to_builtins(await rescan(self._core))

    async def full_sync(self, given: dict[str, Any]) -> dict[str, bool]:
        """Begin a full sync; of each instance whether it was begun or is under way already."""
        return await self._keeper.sync(params_of(FullSyncParams, given).instance)
