"""What the user is told of plugins at work, as notifications of this node."""

from __future__ import annotations

from mosaicfs_core.documents.notifications import Condition
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.notifying import raise_condition, resolve_condition

MISSED: int = 3
"""Health checks in a row that fail before the user is told."""


class Conditions:
    """The conditions of one instance."""

    def __init__(self, core: CoreServices, instance: str) -> None:
        self._core, self._instance = core, instance

    async def jobs_failed(self, message: str) -> None:
        """Jobs have failed for good."""
        title = f"{self._instance} could not process some files"
        await self._raise("plugin_jobs_failed", "error", title, f"The last one: {message}")

    async def jobs_well(self) -> None:
        """No failed job is left."""
        await self._resolve("plugin_jobs_failed")

    async def disconnected(self, reason: str) -> None:
        """The plugin does not work."""
        await self._raise("plugin_disconnected", "warning", f"{self._instance} does not work at present", reason)

    async def connected(self) -> None:
        """It does."""
        await self._resolve("plugin_disconnected")

    async def health_missed(self, reason: str) -> None:
        """It did not say how it is, several times in a row."""
        title = f"{self._instance} does not answer its health check"
        await self._raise("plugin_health_check_failed", "warning", title, reason)

    async def health_told(self) -> None:
        """It did."""
        await self._resolve("plugin_health_check_failed")

    async def _raise(self, key: str, severity: str, title: str, message: str) -> None:
        condition = Condition(self._core.node_id, self._instance, f"{key}:{self._instance}", severity, title, message)
        await raise_condition(self._core.store, condition)

    async def _resolve(self, key: str) -> None:
        await resolve_condition(self._core.store, self._core.node_id, f"{key}:{self._instance}")
