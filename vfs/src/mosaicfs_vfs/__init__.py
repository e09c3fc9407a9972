"""The virtual namespace of MosaicFS and its FUSE mount."""
