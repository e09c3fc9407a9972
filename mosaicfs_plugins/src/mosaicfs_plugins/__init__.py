"""The standard plugins of MosaicFS: local files, search by name, labels."""
