"""How a condition becomes, stays and ceases to be a notification. Pure.

A condition that is still true only moves ``last_seen``, so that an acknowledgement holds. It becomes active once more,
with its count raised, when it comes back after it was resolved, or when it becomes more severe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.times import MICROS_PER_DAY, format_time, parse_time

SEVERITIES: Final = ("info", "warning", "error")
_STILL: Final = MICROS_PER_DAY // 24
"""Microseconds after which it is worth a write that a condition is still true."""


class Condition(NamedTuple):
    """Something that is true now. ``source`` is a node id or ``control-plane``, ``component`` what noticed it there."""

    source: str
    component: str
    key: str
    severity: str
    title: str
    message: str = ""


def raised(present: Mapping[str, Any] | None, condition: Condition, now: int) -> dict[str, Any] | None:
    """The document of a condition that is true at ``now`` (microseconds), None when the present one says all that."""
    time = format_time(now)
    told = {"severity": condition.severity, "title": condition.title, "message": condition.message}
    if present is None:
        return {
            "_id": ids.notification_document_id(condition.source, condition.key),
            "type": "notification",
            "source": {"node_id": condition.source, "component": condition.component},
            "condition_key": condition.key,
            "status": "active",
            "first_seen": time,
            "last_seen": time,
            "occurrence_count": 1,
            **told,
        }
    worse = SEVERITIES.index(condition.severity) > SEVERITIES.index(present["severity"])
    if present["status"] == "resolved" or worse:
        kept = {key: value for key, value in present.items() if key != "resolved_at"}
        count = present.get("occurrence_count", 1) + 1
        return kept | told | {"status": "active", "last_seen": time, "occurrence_count": count}
    same = all(present.get(field, "") == value for field, value in told.items())
    if same and now - parse_time(present["last_seen"]) < _STILL:
        return None
    return {**present, **told, "last_seen": time}


def resolved(present: Mapping[str, Any] | None, now: int) -> dict[str, Any] | None:
    """The document of a condition that is over, None when it was over already or never was."""
    if present is None or present["status"] == "resolved":
        return None
    return {**present, "status": "resolved", "resolved_at": format_time(now)}


def acknowledged(present: Mapping[str, Any], now: int) -> dict[str, Any] | None:
    """The document of a condition that the user has taken note of, None when nobody has to any more."""
    if present["status"] != "active":
        return None
    return {**present, "status": "acknowledged", "acknowledged_at": format_time(now)}
