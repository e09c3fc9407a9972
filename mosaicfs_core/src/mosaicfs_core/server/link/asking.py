"""Questions to nodes, wherever they are: to the agent of this process, over a link, or through the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.standing import why_refused
from mosaicfs_core.errors import NotAllowed, NotFound, Unavailable
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.server.link.links import Links
from mosaicfs_core.server.link.remote import RemoteAgent

MISSING: Final = "there is no such node"
THROUGH: Final = frozenset({"query"})
"""What an agent may ask of other nodes: its key lets it ask their plugins, and not command them."""


def is_here(core: CoreServices, node_id: str) -> bool:
    """Whether the node's agent is in this very process. Raises ``NotFound`` for an unknown node and ``NotAllowed`` for
    a disabled one."""
    if core.store.reader.get(ids.node_document_id(node_id)) is None:
        raise NotFound(MISSING)
    if reason := why_refused(core.store.reader.get, node_id):
        raise NotAllowed(reason)
    return node_id == core.node_id and core.agent is not None


def remote(core: CoreServices, links: Links, node_id: str) -> RemoteAgent:
    """The agent of another machine, to command it. Raises ``NotAllowed`` on an agent."""
    if not core.control:
        raise _not_from_here(core, node_id)
    return RemoteAgent(links, node_id)


async def ask(
    core: CoreServices, links: Links, node_id: str, method: str, params: Mapping[str, Any], timeout: float = 30.0
) -> Any:
    """Ask a node about its plugins at work. Raises ``Unavailable`` when it cannot be reached, ``NotFound`` and
    ``NotAllowed`` as ``is_here``, and what the node raises."""
    if is_here(core, node_id):
        return await core.agent.job_methods.table[method](dict(params))
    if core.control:
        return await links.call(node_id, method, params, timeout)
    if method not in THROUGH:
        raise _not_from_here(core, node_id)
    if core.ask_control is None:
        raise Unavailable("it is asked through the control plane, to which there is no link yet")
    question = {"node_id": node_id, "method": method, "params": params, "timeout_s": timeout}
    return await core.ask_control("ask", question, timeout)


def _not_from_here(core: CoreServices, node_id: str) -> NotAllowed:
    return NotAllowed(f"{node_id} is another machine: ask this of it on the control plane at {core.control_url}")
