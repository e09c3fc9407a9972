"""The core's REST routes, one blueprint a module. Routes of plugins come from ``mosaicfs_routes``."""
