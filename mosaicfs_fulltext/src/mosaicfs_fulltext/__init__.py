"""Full-text search for MosaicFS (announced: this release holds its manifest alone)."""
