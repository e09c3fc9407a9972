"""What is in virtual directory D? A synchronous library over one replica."""

from mosaicfs_vfs.namespace.namespace import Namespace
from mosaicfs_vfs.namespace.types import (
    DERIVED_INODES,
    ROOT_INODE,
    Changes,
    Entry,
    Listing,
    ListingDiff,
    diff,
)

__all__ = [
    "DERIVED_INODES",
    "ROOT_INODE",
    "Changes",
    "Entry",
    "Listing",
    "ListingDiff",
    "Namespace",
    "diff",
]
