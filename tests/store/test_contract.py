"""Protects the store's promises as a whole: our store passes ``StoreContract``."""

from mosaicfs_core.testing.store import StoreContract


class TestStore(StoreContract):
    """The embedded store."""
