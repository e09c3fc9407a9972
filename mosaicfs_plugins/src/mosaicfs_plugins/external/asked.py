"""What a foreign program is asked for: its instance's document says so, since the program cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def hooks_asked(document: Mapping[str, Any]) -> frozenset[str]:
    """The work hooks that a document asks for."""
    asked = {
        "mosaicfs_file_event": document.get("subscribed_events"),
        "mosaicfs_query": document.get("query_endpoints"),
        "mosaicfs_crawl": document.get("provides_filesystem"),
    }
    return frozenset(hook for hook, wanted in asked.items() if wanted)
