"""How an instance is, for the host and for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mosaicfs_core.hooks import HealthReport, Notice
from mosaicfs_fulltext.backend import Stats
from mosaicfs_fulltext.entries import Entry

SHOWN_FAILURES: Final = 10
REFILLING: Final = "index_refilling"
TROUBLE: Final = "index_unavailable"


def health(stats: Stats, incomplete: str | None, read: int) -> HealthReport:
    """The report: degraded while the index lacks files."""
    detail = f"{stats.documents:,} files, {stats.with_text:,} with text, {stats.failed:,} that could not be read"
    if incomplete is None:
        return HealthReport(status="healthy", detail=detail, resolved=(REFILLING, TROUBLE))
    notice = Notice(
        key=REFILLING,
        severity="info",
        title="The full-text index is being filled again",
        message=f"{incomplete} Searches may miss files until it is done; {read:,} have been read.",
    )
    return HealthReport(status="degraded", detail=f"{incomplete} {detail}", notices=(notice,), resolved=(TROUBLE,))


def in_trouble(reason: str) -> HealthReport:
    """The report while the index takes nothing in: on a full disk, say."""
    notice = Notice(
        key=TROUBLE,
        severity="warning",
        title="The full-text index takes nothing in at present",
        message=f"It goes on by itself once it can; files that change wait until then. The reason: {reason}.",
    )
    return HealthReport(status="degraded", detail=f"The index takes nothing in: {reason}.", notices=(notice,))


def widget(stats: Stats, failed: Sequence[Entry], incomplete: str | None, backend: str) -> Mapping[str, Any]:
    """What the dashboard shows: ``status`` and ``data``."""
    data: dict[str, Any] = {
        "backend": backend,
        "documents": stats.documents,
        "with_text": stats.with_text,
        "waiting": stats.waiting,
        "size_bytes": stats.size,
        "last_commit": None if stats.committed_at is None else _time(stats.committed_at),
        "failures": stats.failed,
        "postponed": stats.postponed,
        "failed_files": [{"file_id": one.file_id, "path": one.path, "reason": one.reason} for one in failed],
    }
    if incomplete is not None:
        data["note"] = incomplete
    return {"status": "healthy" if incomplete is None else "degraded", "data": data}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
