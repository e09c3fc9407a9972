"""What the queue should do, in the plainest words: files, and for each instance what waits, flies and was done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from mosaicfs_core.testing.store import NODE

ADDED, MODIFIED, DELETED = "file.added", "file.modified", "file.deleted"
SMALL = 5
"""An instance that is ``small`` is told of files up to this size."""


@dataclass(frozen=True)
class State:
    """What a file document says."""

    node: str
    path: str
    size: int
    shown: bool


@dataclass
class ModelJob:
    event: str
    sequence: int
    status: str = "ready"
    attempts: int = 0
    postponed: int = 0
    due: int = 0
    delivered: bool = False
    previous: str | None = None
    given: State | None = None


@dataclass
class ModelInstance:
    events: tuple[str, ...]
    everywhere: bool = False
    small: bool = False
    enabled: bool = True
    paused: bool = False
    unknown: bool = False
    """Whether nobody can say at present what it subscribes to."""
    sequence: int = 0
    used: tuple[int, int] = (0, 0)
    """Jobs that were taken and not given back, and their bytes."""
    sync_until: int | None = None
    """The last document number that the listing of a full sync has yet to look at; None when there is none."""
    waiting: dict[str, ModelJob] = field(default_factory=dict)
    flying: dict[str, ModelJob] = field(default_factory=dict)
    ledger: dict[str, int | None] = field(default_factory=dict)

    def next(self) -> int:
        self.sequence += 1
        return self.sequence

    def use(self, jobs: list[ModelJob], sign: int) -> None:
        size = sum(job.given.size for job in jobs if job.given is not None)
        self.used = (self.used[0] + sign * len(jobs), self.used[1] + sign * size)

    def wants(self, state: State | None) -> bool:
        if state is None or not state.shown or (state.node != NODE and not self.everywhere):
            return False
        return not self.small or state.size <= SMALL


MERGED = {
    (ADDED, ADDED): ADDED,
    (ADDED, MODIFIED): ADDED,
    (ADDED, DELETED): DELETED,  # nothing, when the plugin never heard of the file
    (MODIFIED, ADDED): MODIFIED,
    (MODIFIED, MODIFIED): MODIFIED,
    (MODIFIED, DELETED): DELETED,
    (DELETED, ADDED): ADDED,
    (DELETED, MODIFIED): ADDED,
    (DELETED, DELETED): DELETED,
}


def event_of(before: State | None, after: State | None) -> str | None:
    was, now = before is not None and before.shown, after is not None and after.shown
    if was and now:
        return MODIFIED  # the same written again as well
    return ADDED if now else DELETED if was else None


class Model:
    """Files by id, in the order in which the replica learned of them."""

    def __init__(self) -> None:
        self.files: dict[str, State | None] = {}
        self.numbers: dict[str, int] = {}
        """The documents' numbers, which the replica gives."""
        self.last_known: dict[str, State] = {}
        self.instances: dict[str, ModelInstance] = {}
        self.annotations: dict[tuple[str, str, str], tuple[str, Any]] = {}

    def write(self, changes: dict[str, State | None]) -> None:
        """One transaction."""
        new = changes.keys() - self.files.keys()
        pairs = {name: (self.files.get(name), after) for name, after in changes.items()}
        self.files.update(changes)
        self.last_known.update({name: after for name, after in changes.items() if after is not None})
        self._follow(pairs)
        for instance in self.instances.values():
            # Those that are new to the replica are enqueued first.
            for name, (before, after) in sorted(pairs.items(), key=lambda item: item[0] not in new):
                self._meet(instance, name, before, after)

    def _follow(self, pairs: dict[str, tuple[State | None, State | None]]) -> None:
        taken: list[tuple[State, str, tuple[str, Any]]] = []
        for before, after in pairs.values():
            if before is None or not before.shown or (after and after.shown and after.path == before.path):
                continue
            for node, path, name in [key for key in self.annotations if key[:2] == (before.node, before.path)]:
                said = self.annotations.pop((node, path, name))
                if after is not None and after.shown:
                    taken.append((after, name, said))
        for after, name, said in taken:
            self.annotations[after.node, after.path, name] = said

    def _meet(self, one: ModelInstance, name: str, before: State | None, after: State | None) -> None:
        event, waiting = event_of(before, after), one.waiting.get(name)
        if event is None or (not one.enabled and waiting is None and (name not in one.flying or event != DELETED)):
            if event == DELETED and name in one.ledger:
                self._ledger_gone(one, name)
            return
        delivered = name in one.flying or (waiting is not None and waiting.delivered)
        known = delivered or name in one.ledger
        result: str | None
        if event == DELETED or not one.wants(after):
            matters = known or (event == DELETED and one.wants(before))
            unheard = waiting is not None and waiting.event == ADDED and not known
            result = DELETED if matters and not unheard and DELETED in one.events else None
        elif waiting is not None and waiting.event == DELETED:
            result = ADDED if ADDED in one.events else MODIFIED if MODIFIED in one.events else None
        else:
            told = ADDED if event == MODIFIED and not known and not one.wants(before) else event
            if told not in one.events or (waiting and waiting.event == ADDED and not known):
                return
            result = told if waiting is None else MERGED[waiting.event, told]
        if event == DELETED and name in one.ledger:
            self._ledger_gone(one, name)
        one.waiting.pop(name, None)
        if result is not None:
            here = after or before
            assert here is not None
            origin = (waiting.previous if waiting else None) or (before.path if before else None)
            one.waiting[name] = ModelJob(
                event=result,
                sequence=waiting.sequence if waiting and not delivered else one.next(),
                status="behind" if name in one.flying else "ready",
                delivered=delivered,
                previous=origin if known and origin != here.path else None,
            )

    def _ledger_gone(self, one: ModelInstance, name: str) -> None:
        if DELETED in one.events:
            one.ledger[name] = None
        else:
            del one.ledger[name]

    # Working

    def take(self, name: str, limit: int, now: int) -> list[tuple[str, ModelJob]]:
        one = self.instances[name]
        if one.paused or not one.enabled:
            return []
        taken = self._take(one, limit, now)
        if not taken and one.sync_until is not None:
            self._list(one, one.sync_until)
            one.sync_until = None
            taken = self._take(one, limit, now)
        one.use([job for _, job in taken], 1)
        return taken

    def _take(self, one: ModelInstance, limit: int, now: int) -> list[tuple[str, ModelJob]]:
        due = [item for item in one.waiting.items() if item[1].status == "retrying" and item[1].due <= now]
        ready = [item for item in one.waiting.items() if item[1].status == "ready"]
        due.sort(key=lambda item: (item[1].due, self.numbers[item[0]]))
        chosen = due + sorted(ready, key=lambda item: item[1].sequence)
        taken = []
        for name, job in chosen[:limit]:
            del one.waiting[name]
            state = self.files[name] or replace(self.last_known[name], shown=False)
            if state.shown or job.event == DELETED:  # else it was given back, and nobody wants to hear that it is gone
                one.flying[name] = replace(job, status="in_flight", due=0, delivered=True, given=state)
                taken.append((name, one.flying[name]))
        return taken if taken or not chosen else self._take(one, limit, now)

    def _list(self, one: ModelInstance, until: int) -> None:
        busy = one.waiting.keys() | one.flying.keys()
        looked_at = {name: state for name, state in self.files.items() if self.numbers[name] <= until}
        for name, state in looked_at.items():
            done = state is not None and one.ledger.get(name, None) == state.size
            if one.wants(state) and not done and name not in busy and ADDED in one.events:
                one.waiting[name] = ModelJob(ADDED, one.next())
        for name, state in looked_at.items():
            if name in one.ledger and (state is None or not state.shown) and name not in busy:
                if DELETED in one.events and state is not None:
                    one.waiting[name] = ModelJob(DELETED, one.next())
                else:
                    del one.ledger[name]

    def done(self, name: str, file: str, data: Any) -> None:
        one = self.instances[name]
        job, state = one.flying.pop(file), self.files[file]
        if job.event == DELETED:
            one.ledger.pop(file, None)
        elif state is not None and state.shown:
            assert job.given is not None
            one.ledger[file] = job.given.size
            key = (state.node, state.path, name)
            if data:
                self.annotations[key] = ("ok", data)
            elif self.annotations.get(key, ("", 0))[0] == "failed":
                del self.annotations[key]
        if file in one.waiting:
            one.waiting[file].status = "ready"

    def forget(self, keys: list[tuple[str, str, str]]) -> None:
        """Take these annotations away."""
        for key in keys:
            del self.annotations[key]
        for name, one in self.instances.items():
            places = {key[:2] for key in keys if key[2] == name}
            for file in sorted(self.files, key=lambda file: self.numbers[file]):
                state = self.files[file]
                if state is not None and state.shown and (state.node, state.path) in places:
                    self._forget(one, file, state)

    def _forget(self, one: ModelInstance, file: str, state: State) -> None:
        if file in one.ledger:
            one.ledger[file] = None
        waiting = one.waiting.get(file)
        if waiting is not None and waiting.status == "failed":
            waiting.status, waiting.attempts, waiting.postponed = "ready", 0, 0
        event = ADDED if ADDED in one.events else MODIFIED if MODIFIED in one.events else None
        if waiting is None and file not in one.flying and one.enabled and one.wants(state) and event is not None:
            one.waiting[file] = ModelJob(event, one.next())

    def give_back(
        self, name: str, file: str, *, due: int | None = None, for_good: bool = False, unavailable: bool = False
    ) -> str:
        """``due``: an attempt failed, or with ``unavailable`` was none."""
        one = self.instances[name]
        job, newer = one.flying.pop(file), one.waiting.get(file)
        if newer is not None:
            newer.event, newer.previous = MERGED[job.event, newer.event], job.previous or newer.previous
            newer.status, newer.delivered = "ready", True
            return "ready"
        status = "failed" if for_good else "retrying" if due is not None else "ready"
        attempts, postponed = job.attempts + (due is not None and not unavailable), job.postponed + unavailable
        due = 0 if for_good else due or 0
        one.waiting[file] = replace(job, status=status, attempts=attempts, postponed=postponed, due=due)
        return status
