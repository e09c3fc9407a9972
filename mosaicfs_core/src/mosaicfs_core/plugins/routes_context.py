"""The context that a plugin's routes get: ``hooks.RoutesContext``, which acts for the control plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.instances import package_of
from mosaicfs_core.plugins.context import CoreServices, InstanceContext

if TYPE_CHECKING:
    from mosaicfs_core.content import TreeServices
    from mosaicfs_core.plugins.loading import LoadedPlugin

TREE: Final = "mosaicfs-vfs"
"""The distribution that serves the virtual tree, and for that has the store itself."""


class RoutesContextImpl(InstanceContext):
    """The context of ``mosaicfs_routes``: writes what the control plane owns, in an agent's own process what the node
    may write.

    ``whoami`` is the server's answer inside a view.
    """

    def __init__(self, core: CoreServices, plugin: str, whoami: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__(core, plugin)
        self._writer = ids.CONTROL_PLANE if core.control else core.node_id
        self._whoami = whoami

    def _owns(self, plugin: Mapping[str, Any]) -> bool:
        """Whether a plugin document is of an instance of this package, on whichever node."""
        return package_of(plugin) == self._instance

    async def whoami(self) -> Mapping[str, Any]:
        """Who is asking, inside a view."""
        return self._whoami()

    async def node_status(self, node_id: str) -> Mapping[str, Any] | None:
        """What a node's agent says of itself."""
        if self._core.agent is not None and node_id == self._core.node_id:
            status: Mapping[str, Any] = self._core.agent.status()
            return status
        return await self._core.store.get(ids.status_document_id(node_id))


class TreeContextImpl(RoutesContextImpl):
    """The context of ``mosaicfs_routes`` of the virtual tree."""

    @property
    def services(self) -> TreeServices:
        """The process's services, for ``content.services_of``: no part of the public API."""
        return self._core


def routes_context(
    core: CoreServices, plugin: LoadedPlugin, whoami: Callable[[], Mapping[str, Any]]
) -> RoutesContextImpl:
    """What a plugin's ``mosaicfs_routes`` gets."""
    kind = TreeContextImpl if plugin.distribution == TREE else RoutesContextImpl
    return kind(core, plugin.name, whoami)
