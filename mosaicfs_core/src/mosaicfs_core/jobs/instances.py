"""The instances and their subscriptions, as the replica keeps them. Runs inside transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mosaicfs_core.jobs.collapse import widens
from mosaicfs_core.jobs.records import Subscription
from mosaicfs_core.jobs.schema import EVENT_NUMBERS, FAILED, READY, STATUS_COLUMNS
from mosaicfs_core.store import WriteTransaction

PURGE: Final = 10_000
"""Rows of a gone instance removed in one transaction."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Subscription).decode
_COLUMNS: Final = "instance, name, subscription, enabled, paused, sequence"


class Instance(NamedTuple):
    """A row of ``job_instances``."""

    number: int
    name: str
    subscription: bytes
    enabled: bool
    paused: bool
    sequence: int

    def parsed(self) -> Subscription:
        """The subscription."""
        return _decode(self.subscription)


class Tally:
    """What one transaction changes in the counts and the sequence of one instance; ``write`` it at the end."""

    def __init__(self, instance: Instance) -> None:
        self.number = instance.number
        self.sequence = instance.sequence
        self._by_status = [0] * len(STATUS_COLUMNS)

    def next(self) -> int:
        """A new sequence number."""
        self.sequence += 1
        return self.sequence

    def count(self, status: int, difference: int) -> None:
        """So many more jobs are of this status."""
        self._by_status[status] += difference

    def move(self, before: int, after: int, jobs: int = 1) -> None:
        """So many jobs changed their status."""
        self._by_status[before] -= jobs
        self._by_status[after] += jobs

    def write(self, tx: WriteTransaction) -> None:
        """Store it."""
        changes = ", ".join(f"{column} = {column} + ?" for column in STATUS_COLUMNS)
        sql = f"UPDATE job_instances SET sequence = max(sequence, ?), {changes} WHERE instance = ?"
        tx.execute(sql, (self.sequence, *self._by_status, self.number))


def all_instances(tx: WriteTransaction) -> list[Instance]:
    """Every instance that is not gone."""
    rows = tx.execute(f"SELECT {_COLUMNS} FROM job_instances WHERE name IS NOT NULL").fetchall()
    return [_instance(row) for row in rows]


def named(tx: WriteTransaction, name: str) -> Instance | None:
    """An instance by its name."""
    row = tx.execute(f"SELECT {_COLUMNS} FROM job_instances WHERE name = ?", (name,)).fetchone()
    return None if row is None else _instance(row)


def _instance(row: Sequence[Any]) -> Instance:
    number, name, subscription, enabled, paused, sequence = row
    return Instance(number, name, subscription, bool(enabled), bool(paused), sequence)


def subscribe(tx: WriteTransaction, subscriptions: Mapping[str, Subscription], kept: Collection[str]) -> list[str]:
    """Make these the instances there are, and let the ``kept`` ones, which no subscription is known of, keep what they
    have; returns the names that need a full sync."""
    known = {instance.name: instance for instance in all_instances(tx)}
    for name in known.keys() - subscriptions.keys():
        (_hold if name in kept else _drop)(tx, known[name])
    for name, subscription in subscriptions.items():
        body, present = _encode(subscription), known.get(name)
        if present is None:
            sql = "INSERT INTO job_instances(name, subscription, enabled) VALUES(?, ?, ?)"
            tx.execute(sql, (name, body, subscription.enabled))
        elif present.subscription != body:
            _change(tx, present, subscription, body)
    wanting = "SELECT name FROM job_instances WHERE needs_sync = 1 AND enabled = 1 AND name IS NOT NULL ORDER BY name"
    return [name for (name,) in tx.execute(wanting)]


def _hold(tx: WriteTransaction, present: Instance) -> None:
    """Disable an instance under the subscription it had. Enabled by the next one, it wants a full sync."""
    body = _encode(msgspec.structs.replace(present.parsed(), enabled=False))
    sql = "UPDATE job_instances SET subscription = ?, enabled = 0 WHERE instance = ?"
    tx.execute(sql, (body, present.number))


def _drop(tx: WriteTransaction, gone: Instance) -> None:
    """Take an instance's name; its rows are ``purge``'s."""
    tx.execute("UPDATE job_instances SET name = NULL, enabled = 0 WHERE instance = ?", (gone.number,))
    tx.execute("DELETE FROM job_syncs WHERE instance = ?", (gone.number,))


def _change(tx: WriteTransaction, present: Instance, new: Subscription, body: bytes) -> None:
    old = present.parsed()
    again = new.reprocess and new.version != old.version
    sql = "UPDATE job_instances SET subscription = ?, enabled = ?, needs_sync = max(needs_sync, ?) WHERE instance = ?"
    tx.execute(sql, (body, new.enabled, again or wider(old, new), present.number))
    if again:  # what the former version failed at may be what this one is for
        retry(tx, present, None)


def wider(old: Subscription, new: Subscription) -> bool:
    """Whether a subscription may let through what another one did not."""
    return (
        (new.enabled and not old.enabled)
        or not set(new.events) <= set(old.events)
        or widens(old.mime_globs, new.mime_globs)
        or new.steps != old.steps
        or new.budget_steps != old.budget_steps
        or (new.scope == "instance" and old.scope == "node")
    )


def events_of(subscription: Subscription) -> frozenset[int]:
    """The numbers of the events an instance is told; names that this version does not know are passed over."""
    return frozenset(EVENT_NUMBERS[name] for name in subscription.events if name in EVENT_NUMBERS)


def retry(tx: WriteTransaction, instance: Instance, sequences: Sequence[int] | None, limit: int = -1) -> int:
    """Make failed jobs ready, at most ``limit``; returns how many."""
    chosen = "SELECT doc, sequence FROM jobs INDEXED BY jobs_by_status WHERE instance = ? AND status = ?"
    parameters: list[Any] = [instance.number, FAILED]
    if sequences is not None:
        chosen += " AND sequence IN (SELECT value FROM json_each(?))"
        parameters.append(_encode(list(sequences)).decode())
    changed = tx.execute(
        f"""UPDATE jobs SET status = ?, attempts = 0, postponed = 0, due = 0
        WHERE instance = ? AND (doc, sequence) IN ({chosen} ORDER BY sequence LIMIT ?)""",
        (READY, instance.number, *parameters, limit),
    ).rowcount
    tally = Tally(instance)
    tally.move(FAILED, READY, changed)
    tally.write(tx)
    return changed


def purge(tx: WriteTransaction) -> bool:
    """Remove some rows of instances that are gone; False when none is left."""
    row = tx.execute("SELECT instance FROM job_instances WHERE name IS NULL LIMIT 1").fetchone()
    if row is None:
        return False
    for sql in _purging():
        if tx.execute(sql, (row[0], PURGE)).rowcount:
            return True
    tx.execute("DELETE FROM job_instances WHERE instance = ?", row)
    return True


def _purging() -> Iterator[str]:
    for table, key in (("jobs", "doc, sequence"), ("job_ledger", "doc")):
        some = f"SELECT {key} FROM {table} WHERE instance = ?1 LIMIT ?2"
        yield f"DELETE FROM {table} WHERE instance = ?1 AND ({key}) IN ({some})"
