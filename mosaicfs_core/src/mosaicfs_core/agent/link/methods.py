"""What an agent answers over its link: what the control plane's routes need of a node that is not their own process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from mosaicfs_core.agent.agent import Agent
from mosaicfs_core.agent.link.push import Pusher
from mosaicfs_core.documents import ids, paths
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import Unavailable, UserError
from mosaicfs_core.link import Method
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.store.moves import clear_followed
from mosaicfs_core.supervision import end_tasks, logged
from mosaicfs_core.wording import in_words

T = TypeVar("T")
MAX_RUNNING: Final = 8
ExportPath = Annotated[str, Meta(pattern="^/", max_length=8192)]


class CrawlParams(msgspec.Struct, frozen=True, kw_only=True):
    """As ``POST nodes/{id}/crawl``."""

    instance: Annotated[str, Meta(pattern=f"^{ids.INSTANCE_PATTERN}{END}")] | None = None
    full: bool = False
    prefixes: Annotated[tuple[ExportPath, ...], Meta(max_length=100)] = ()


class ExclusionsParams(msgspec.Struct, frozen=True, kw_only=True):
    """As ``GET nodes/{id}/exclusions``."""

    path: ExportPath | None = None
    limit: Annotated[int, Meta(ge=1, le=5000)] = 100
    offset: Annotated[int, Meta(ge=0)] = 0


class PushParams(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a file to be sent under a ticket; without ``stop`` to its end, with ``etag`` only of that version."""

    ticket: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{16,64}" + END)]
    file_id: str
    start: Annotated[int, Meta(ge=0)] = 0
    stop: Annotated[int, Meta(ge=0)] | None = None
    etag: str | None = None


class FollowedParams(msgspec.Struct, frozen=True, kw_only=True):
    """Files whose labels have followed a move: file id → the path it was moved from, and where the labels are."""

    moves: Annotated[dict[str, tuple[str, str]], Meta(max_length=1000)]


class AgentMethods:
    """The methods over one agent. ``table`` is what a link takes; ``close`` ends what they have begun."""

    def __init__(self, core: CoreServices, agent: Agent, pusher: Pusher) -> None:
        self._core = core
        self._agent = agent
        self._pusher = pusher
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def table(self) -> Mapping[str, Method]:
        """By name."""
        return {
            "crawl": self.crawl,
            "exclusions": self.exclusions,
            "moves_followed": self.moves_followed,
            "problems": self.problems,
            "push": self.push,
            "reindex": self.reindex,
            "roots": self.roots,
            "status": self.status,
            "sync": self.sync,
        }

    async def close(self) -> None:
        """Cancel the crawls that were begun here and wait for their end."""
        await end_tasks(*self._running.values())
        await self._pusher.close()

    async def crawl(self, given: dict[str, Any]) -> dict[str, bool]:
        """Begin to crawl; ``started`` is false when the same crawl was under way and another one waits already."""
        asked = _params(CrawlParams, given)
        prefixes = tuple(paths.normalize_virtual(prefix) for prefix in asked.prefixes)
        self._agent.check_crawls(asked.instance)
        name = f"crawl {asked.instance or 'all'} {asked.full} {' '.join(prefixes)}"
        return self._begin(name, self._agent.crawl(instance=asked.instance, full=asked.full, prefixes=prefixes))

    async def sync(self, given: dict[str, Any]) -> dict[str, bool]:
        """Begin to bring one instance, or all, up to date with what they stand for."""
        asked = _params(CrawlParams, given)
        self._agent.check_crawls(asked.instance)
        return self._begin(f"sync {asked.instance or 'all'}", self._agent.crawl(instance=asked.instance))

    async def reindex(self, _given: dict[str, Any]) -> dict[str, bool]:
        """Begin to crawl everything, relying on nothing."""
        return self._begin("reindex", self._agent.crawl(full=True))

    async def status(self, _given: dict[str, Any]) -> dict[str, Any]:
        """The status as of now."""
        return {name: value for name, value in self._agent.status().items() if not name.startswith("_")}

    async def problems(self, _given: dict[str, Any]) -> list[Any]:
        """What crawls and watchers passed over or could not read."""
        return [msgspec.to_builtins(problem) for problem in self._agent.problems()]

    async def roots(self, _given: dict[str, Any]) -> list[str]:
        """The resolved roots, in written form."""
        return [paths.escape(root) for root in self._agent.roots()]

    async def exclusions(self, given: dict[str, Any]) -> dict[str, Any]:
        """What is left out of the index."""
        asked = _params(ExclusionsParams, given)
        path = None if asked.path is None else paths.normalize_virtual(asked.path)
        found = await self._agent.exclusions(path, limit=asked.limit, offset=asked.offset)
        return {"items": [msgspec.to_builtins(one) for one in found.items], "more": found.more}

    async def moves_followed(self, given: dict[str, Any]) -> dict[str, int]:
        """The labels of these files have followed them."""
        asked = _params(FollowedParams, given)
        cleared = await self._core.store.transaction(lambda tx: clear_followed(tx, self._core.node_id, asked.moves))
        return {"cleared": cleared}

    async def push(self, given: dict[str, Any]) -> Any:
        """Send a range of a file; what of it will be sent."""
        asked = _params(PushParams, given)
        return await self._pusher.push(asked.ticket, asked.file_id, asked.start, asked.stop, asked.etag)

    def _begin(self, name: str, work: Coroutine[Any, Any, Any]) -> dict[str, bool]:
        if name in self._running:
            # What changed since it looked there is seen by one more, which waits for its end; others join that one.
            name = f"{name} again"
        if name in self._running:
            work.close()
            return {"started": False}
        if len(self._running) >= MAX_RUNNING:
            work.close()
            raise Unavailable("too many crawls are asked for at once", retry_after=30)
        task = asyncio.create_task(logged(name, work), name=name)
        self._running[name] = task
        task.add_done_callback(lambda _: self._running.pop(name, None))
        return {"started": True}


def _params(kind: type[T], given: Mapping[str, Any]) -> T:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        field, problem = in_words(error, kind)
        raise UserError(f"{field or 'the params'}: {problem}", field=field) from None
