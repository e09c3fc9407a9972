"""Measurements of what MosaicFS promises, each beside a peer in the same run: ``make bench``."""
