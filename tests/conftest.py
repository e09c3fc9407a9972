"""Shared by all areas: the conformance kit's fixtures, as any plugin author gets them."""

pytest_plugins = ["mosaicfs_core.testing"]
