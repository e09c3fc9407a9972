"""Mailboxes as folders for MosaicFS (announced: this release holds its manifest alone)."""
