"""When the next crawl is due, and how requests that wait are joined. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from mosaicfs_core.hooks import CrawlRequest


def next_nightly(now: datetime, at: str) -> datetime | None:
    """The next moment of local time ``at`` (``HH:MM``) after ``now``; None for an empty ``at``."""
    if not at:
        return None
    hour, minute = (int(part) for part in at.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


def joined(waiting: CrawlRequest | None, new: CrawlRequest) -> CrawlRequest:
    """One request that does what both ask for."""
    if waiting is None:
        return new
    whole = not waiting.prefixes or not new.prefixes
    prefixes = () if whole else tuple(dict.fromkeys(waiting.prefixes + new.prefixes))
    return CrawlRequest(trigger=new.trigger, full=waiting.full or new.full, prefixes=prefixes)
