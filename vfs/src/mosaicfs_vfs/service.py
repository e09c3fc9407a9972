"""The namespace as the server uses it: one instance, one thread, always up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mosaicfs_core.content import TreeServices
from mosaicfs_core.store import Reader
from mosaicfs_vfs.namespace import Namespace
from mosaicfs_vfs.namespace.explain import Explanation
from mosaicfs_vfs.on_disk import with_disk

T = TypeVar("T")


class NamespaceService:
    """Runs functions over a namespace in a thread of its own, which opens the replica when the first one comes."""

    def __init__(self, services: TreeServices) -> None:
        self._services = services
        self._namespace: Namespace | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="namespace")

    async def run(self, function: Callable[[Namespace], T]) -> T:
        """Run ``function`` over the namespace, brought up to date first: a caller sees all that it wrote before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, function)

    def _call(self, function: Callable[[Namespace], T]) -> T:
        if self._namespace is None:
            reader = Reader.open(self._services.replica)
            self._namespace = Namespace(reader, self._services.step_ops())
        self._namespace.refresh()
        return function(self._namespace)

    async def shown_by_mounts(self) -> None:
        """Wait until the mounts of this machine show what was written so far: the first look there sees it."""
        await self._services.shown_by_mounts()

    def live_statuses(self) -> dict[str, Mapping[str, Any]]:
        """The statuses that are at hand without waiting for the documents, which are written now and then."""
        agent = self._services.agent
        return {} if agent is None else {self._services.node_id: agent.status()}

    async def with_disk(self, explanation: Explanation) -> Explanation:
        """The explanation with what this node's agent, when it runs here, finds on disk."""
        agent = self._services.agent
        return explanation if agent is None else await with_disk(explanation, self._services.node_id, agent)

    async def close(self) -> None:
        """Close the replica and end the thread."""
        if self._namespace is not None:
            namespace, self._namespace = self._namespace, None
            await asyncio.get_running_loop().run_in_executor(self._thread, namespace.close)
        self._thread.shutdown(wait=False)
