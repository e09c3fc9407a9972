"""What to do about jobs of plugins that failed for good, wherever a status tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def failed_jobs(status: Mapping[str, Any], node: str | None = None) -> list[str]:
    """A sentence for each instance that has some: the commands that list them and try them again. ``node`` is named in
    them where it is another machine than the one that is asked."""
    at = f" --node {node}" if node else ""
    failed = status.get("subsystems", {}).get("jobs", {}).get("failed", {})
    return [
        f"`mosaicfs plugin jobs {name} --status failed{at}` lists what failed, and why;"
        f" `mosaicfs plugin retry {name}{at}` tries it again"
        for name in sorted(failed)
    ]
