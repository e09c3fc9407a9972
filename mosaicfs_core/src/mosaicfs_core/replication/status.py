"""What a replication says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal["idle", "catching_up", "live", "waiting", "stopped"]
Direction: TypeAlias = Literal["push", "pull"]

_WORST_FIRST: Final = ("waiting", "stopped", "catching_up", "idle", "live")


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a replication.

    ``waiting`` means that it failed and will try again, ``live`` that it has seen everything and follows the feed.
    ``pushed`` and ``pulled`` count documents written at the far and the near side since the start, ``pending`` those
    known to be still to come (an upper bound where the source cannot tell which of its changes pass the filter), and
    ``refused`` those that the target would not take, and ``owed`` those that it could not take for the moment, or the
    source not give, and that are offered again. ``lag_s`` is for how long the two have not been level, in seconds;
    0.0 when they are. ``conflicts`` are documents with more than one live revision at the near side.
    """

    state: State = "idle"
    pushed: int = 0
    pulled: int = 0
    pending: int = 0
    lag_s: float = 0.0
    last_error: str | None = None
    refused: int = 0
    conflicts: int = 0
    owed: int = 0


def combined(parts: Iterable[Status], *, conflicts: int | None = None) -> Status:
    """One status for several replications of a replica: the worst state, the longest lag, everything else added up."""
    found: Status | None = None
    for part in parts:
        found = part if found is None else _both(found, part)
    found = found or Status()
    return found if conflicts is None else replace(found, conflicts=conflicts)


def _both(a: Status, b: Status) -> Status:
    return Status(
        state=min(a.state, b.state, key=_WORST_FIRST.index),
        pushed=a.pushed + b.pushed,
        pulled=a.pulled + b.pulled,
        pending=a.pending + b.pending,
        lag_s=max(a.lag_s, b.lag_s),
        last_error=a.last_error if a.last_error is not None else b.last_error,
        refused=a.refused + b.refused,
        conflicts=max(a.conflicts, b.conflicts),
        owed=a.owed + b.owed,
    )
