"""Give me bytes [a, b) of file F: access tiers by rising cost behind one ``Content``."""

from mosaicfs_core.content.assembly import NodeContent, node_content
from mosaicfs_core.content.content import Content
from mosaicfs_core.content.digests import DigestBook
from mosaicfs_core.content.fragile import MountedTier
from mosaicfs_core.content.owners import Owners
from mosaicfs_core.content.roots import (
    ProvidedRoot,
    WatchedRoot,
    native_roots,
    provided_roots,
    root_path,
    watch_roots,
    watched_roots,
)
from mosaicfs_core.content.routes import Route, Routes
from mosaicfs_core.content.services import AgentHere, DiskWitness, Finding, TreeServices, services_of
from mosaicfs_core.content.source import ByteSource, LocalSource
from mosaicfs_core.content.tiers import AccessTier, LocalTier

__all__ = [
    "AccessTier",
    "AgentHere",
    "ByteSource",
    "Content",
    "DigestBook",
    "DiskWitness",
    "Finding",
    "LocalSource",
    "LocalTier",
    "MountedTier",
    "NodeContent",
    "Owners",
    "ProvidedRoot",
    "Route",
    "Routes",
    "TreeServices",
    "WatchedRoot",
    "native_roots",
    "node_content",
    "provided_roots",
    "root_path",
    "services_of",
    "watch_roots",
    "watched_roots",
]
