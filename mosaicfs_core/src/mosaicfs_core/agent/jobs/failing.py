"""Jobs that failed for good, as a part of the node's status. Pure.

A few files that a plugin cannot read are news, and no reason to call a machine degraded: that there are damaged files
is not going to change. A plugin most of whose files fail is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mosaicfs_core.jobs import Failures

_SHOWN: Final = 200
"""Characters of an error that are shown in one line."""


def subsystem_of(found: Sequence[Failures]) -> dict[str, Any]:
    """The subsystem ``jobs`` of the status."""
    return {
        "status": "degraded" if any(one.most for one in found) else "healthy",
        "detail": "; ".join(_sentence(one) for one in found),
        "failed": {
            one.instance: {"failed": one.failed, "last_error": one.last_error, "most": one.most} for one in found
        },
    }


def _sentence(one: Failures) -> str:
    """Without what is done: the status is told to other machines whenever it changes, and not for each file."""
    files = "1 file" if one.failed == 1 else f"{one.failed:,} files"
    most = ", more than it was done with" if one.most else ""
    last = " ".join(one.last_error.split())
    shown = last if len(last) <= _SHOWN else f"{last[: _SHOWN - 1]}…"
    return f"{one.instance}: {files} failed{most}, the last: {shown}"
