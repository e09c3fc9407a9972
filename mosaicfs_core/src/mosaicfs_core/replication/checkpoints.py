"""How far a replication has come: remembered on both sides, and believed only where both remember the same.

Each side keeps the same log in a ``_local`` document, in CouchDB's form: the newest position, and a history of entries
``(session, recorded_seq)``. An entry was written only after the target had everything up to it on disk, but for what
the log names as owed, so an entry that both logs have is a position to go on from. A side that was made anew has no
log; one restored from a backup has an older log, which shares an older entry with the other one. If nothing is shared,
everything is compared.

The history is thinned so that entries get rarer with age (an entry whose ordinal is a multiple of 2**k is kept for
``WINDOW`` * 2**k entries): a restored side goes on from about as far before its backup as the backup is old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import md5
from typing import Any, Final, NamedTuple

import msgspec

from .peer import Filter, Seq

VERSION: Final = 1
WINDOW: Final = 8

_canonical = msgspec.json.Encoder(order="sorted").encode


class Entry(NamedTuple):
    """A position that was reached: in which session, as its how-manieth record, when (document time)."""

    session: str
    seq: Seq
    ordinal: int
    time: str


class Log(NamedTuple):
    """What one side remembers, newest first; ``rev`` is that of the ``_local`` document, None when there is none.

    ``set_back`` notes in the near side's log that the far side was found to have forgotten something, until everything
    has been compared anew. ``owed`` are the ids of documents before the newest position that the target could not take
    then (``owed``).
    """

    entries: tuple[Entry, ...] = ()
    rev: str | None = None
    set_back: bool = False
    owed: tuple[str, ...] = ()


def replication_id(source: str, target: str, chosen: Filter) -> str:
    """The name of the ``_local`` documents: of these two databases, in this direction, with this filter."""
    parts = [VERSION, source, target, chosen.name, chosen.selector]
    return "mosaicfs-" + md5(_canonical(parts), usedforsecurity=False).hexdigest()


def read(document: Mapping[str, Any] | None) -> Log:
    """A log from its ``_local`` document; what is not in our form counts as absent (and is overwritten)."""
    if document is None:
        return Log()
    rev = document.get("_rev")
    found = []
    history = document.get("history")
    for item in history if isinstance(history, list) else ():
        try:
            entry = Entry(item["session_id"], item["recorded_seq"], item["ordinal"], item["end_time"])
        except (TypeError, KeyError):
            continue
        if isinstance(entry.session, str) and type(entry.seq) in (int, str) and type(entry.ordinal) is int:
            found.append(entry)
    owed = document.get("owed")
    return Log(
        tuple(found),
        rev if isinstance(rev, str) else None,
        document.get("set_back") is True,
        tuple(one for one in owed if isinstance(one, str)) if isinstance(owed, list) else (),
    )


def write(log: Log) -> dict[str, Any]:
    """The ``_local`` document of a log."""
    entries = log.entries
    document: dict[str, Any] = {
        "replication_id_version": VERSION,
        "session_id": entries[0].session,
        "source_last_seq": entries[0].seq,
        "history": [
            {"session_id": one.session, "recorded_seq": one.seq, "ordinal": one.ordinal, "end_time": one.time}
            for one in entries
        ],
    }
    if log.set_back:
        document["set_back"] = True
    if log.owed:
        document["owed"] = list(log.owed)
    return document if log.rev is None else {**document, "_rev": log.rev}


def common(a: Log, b: Log) -> Entry | None:
    """The newest entry that both logs have, or None."""
    known = {(entry.session, entry.seq) for entry in b.entries}
    return next((entry for entry in a.entries if (entry.session, entry.seq) in known), None)


def has_forgotten(first: Log, second: Log) -> bool:
    """Whether the side that is always written first has lost something since: the other remembers what it does not, or
    has noted that it was so once.

    That is so after it was restored from a backup of its files, or made anew under the same identity.
    """
    return second.set_back or (bool(second.entries) and common(Log(second.entries[:1]), first) is None)


def added(entries: Sequence[Entry], session: str, seq: Seq, time: str) -> tuple[Entry, ...]:
    """The history with a new entry in front, thinned."""
    ordinal = entries[0].ordinal + 1 if entries else 1
    kept = [one for one in entries if ordinal - one.ordinal <= WINDOW * (one.ordinal & -one.ordinal)]
    return (Entry(session, seq, ordinal, time), *kept)
