"""The link between an agent and its control plane: messages, and one end of a conversation. It knows no transport."""

from mosaicfs_core.link.messages import MESSAGE_LIMIT, BrokenLink, ReaderWaits
from mosaicfs_core.link.peer import Method, Peer, converse, params_of

__all__ = ["MESSAGE_LIMIT", "BrokenLink", "Method", "Peer", "ReaderWaits", "converse", "params_of"]
