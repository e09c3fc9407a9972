"""Replication between replicas, here and elsewhere, in CouchDB's protocol; conflicts settled; lost data recovered."""

from .conflicts import ConflictResolver
from .http_peer import HttpPeer
from .peer import EVERYTHING, Filter, Page, Peer, PeerInfo, Refused, Row, Wanted
from .recovery import meet, pull_owned, recover
from .replicator import Replicator
from .status import Status, combined
from .store_peer import StorePeer
from .surroundings import Surroundings

__all__ = [
    "EVERYTHING",
    "ConflictResolver",
    "Filter",
    "HttpPeer",
    "Page",
    "Peer",
    "PeerInfo",
    "Refused",
    "Replicator",
    "Row",
    "Status",
    "StorePeer",
    "Surroundings",
    "Wanted",
    "combined",
    "meet",
    "pull_owned",
    "recover",
]
