pytest_plugins = ["mosaicfs_core.testing"]
