"""The agent's side of its control plane: the link that it keeps open, what it answers there, and its heartbeat."""

from mosaicfs_core.agent.link.client import Connect, Link, LinkState, WebSocket
from mosaicfs_core.agent.link.uplink import Uplink

__all__ = ["Connect", "Link", "LinkState", "Uplink", "WebSocket"]
