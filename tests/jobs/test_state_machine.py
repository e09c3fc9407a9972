"""Protects the queue against a model of it that is too simple to be wrong: every way to write files and to handle jobs,
with crashes in between, and all that is stored compared after each step."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from job_bed import FILES, Bed
from job_model import ADDED, DELETED, MODIFIED, SMALL, Model, ModelInstance, State

from mosaicfs_core.jobs import Job, Subscription, WhichAnnotations
from mosaicfs_core.jobs.finishing import FIRST_PAUSE_S
from mosaicfs_core.jobs.schema import FAILED, FINISHING, STATUS_COLUMNS
from mosaicfs_core.testing.store import NODE, file_document

OTHER = "node-other-bbbb"
PLACES = [(NODE, "/a"), (NODE, "/b"), (NODE, "/d/c"), (OTHER, "/a")]
NEW_PATHS = ["/a", "/b", "/m", "/d/n"]
NAMES = ["one", "two"]
EVENTS = [FILES, FILES, (ADDED, MODIFIED), (MODIFIED, DELETED), (DELETED,)]
ATTEMPTS = 2
DAY = "2026-01-02"

places = st.sampled_from(PLACES)
sizes = st.integers(1, 2 * SMALL)
names = st.sampled_from(NAMES)


class QueueMachine(RuleBasedStateMachine):
    """Files are known by the place where they were first; ids and documents follow from that."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.bed = Bed(Path(self.folder.name) / "0.db")
        self.runner.run(self.bed.open())
        self.model = Model()
        self.model.instances["one"] = ModelInstance(FILES)
        self.taken: dict[tuple[str, str], Job] = {}
        self.dead: list[Bed] = []
        self.subscribe()

    def teardown(self) -> None:
        if hasattr(self, "bed"):
            for bed in (*self.dead, self.bed):
                self.runner.run(bed.close())
            self.runner.close()
            self.folder.cleanup()

    def subscribe(self) -> None:
        self.runner.run(
            self.bed.queue.subscribe(
                {
                    name: Subscription(
                        events=one.events,
                        scope="instance" if one.everywhere else "node",
                        steps=({"op": "size", "max_bytes": SMALL},) if one.small else (),
                        enabled=one.enabled,
                        max_attempts=ATTEMPTS,
                    )
                    for name, one in self.model.instances.items()
                    if not one.unknown
                },
                kept=[name for name, one in self.model.instances.items() if one.unknown],
            )
        )

    # Writing files

    def document(self, identifier: str, state: State | None) -> dict[str, Any]:
        if state is None:
            return {"_id": identifier, "_deleted": True, "type": "file", "node_id": identifier.split("::")[1]}
        status = "active" if state.shown else "deleted"
        return {**file_document(state.path, node_id=state.node, size=state.size, status=status), "_id": identifier,
                "inode": file_document(*self.first(identifier))["inode"]}  # fmt: skip

    def first(self, identifier: str) -> tuple[str]:
        return (next(path for node, path in PLACES if file_document(path, node_id=node)["_id"] == identifier),)

    def write(self, changes: dict[str, State | None], replicated: bool) -> None:
        documents = []
        for identifier, state in changes.items():
            row = self.bed.store.reader.row(identifier)
            body = self.document(identifier, state)
            inode = self.bed.store.reader.row(identifier) and (self.bed.store.reader.get(identifier) or {}).get("inode")
            if state is not None and inode:
                body["inode"] = inode
            known = None if row is None else self.bed.store.reader.revisions(identifier, f"{row[6]}-{rev_of(row[7])}")
            if replicated:
                above = [] if known is None else known["ids"]
                digest = hashlib.md5(f"{above} {state}".encode()).hexdigest()
                body["_rev"] = f"{len(above) + 1}-{digest}"
                body["_revisions"] = {"start": len(above) + 1, "ids": [digest, *above]}
            elif row is not None and not row[8] & 1:
                body["_rev"] = f"{row[6]}-{rev_of(row[7])}"
            documents.append(body)
        results = self.runner.run(self.bed.store.bulk(documents, new_edits=not replicated))
        assert [result.error for result in results] == [None] * len(results)
        self.model.numbers.update({name: self.bed.store.reader.row(name)[0] for name in changes})  # type: ignore[index]
        self.model.write(changes)

    def free(self, place: tuple[str, str], but: str = "") -> bool:
        files = self.model.files.items()
        return all(
            not state or not state.shown or (state.node, state.path) != place or name == but for name, state in files
        )

    @rule(chosen=st.sets(places, min_size=1), size=sizes, replicated=st.booleans())
    def put(self, chosen: set[tuple[str, str]], size: int, replicated: bool) -> None:
        changes: dict[str, State | None] = {}
        for node, path in sorted(chosen):
            identifier = file_document(path, node_id=node)["_id"]
            if self.free((node, path), but=identifier):
                before = self.model.files.get(identifier)
                where = before.path if before is not None and before.shown else path
                changes[identifier] = State(node, where, size, shown=True)
        if changes:
            self.write(changes, replicated)

    @precondition(lambda self: any(self.model.files.values()))
    @rule(data=st.data(), path=st.sampled_from(NEW_PATHS), replicated=st.booleans())
    def move(self, data: st.DataObject, path: str, replicated: bool) -> None:
        identifier = data.draw(st.sampled_from(sorted(name for name, state in self.model.files.items() if state)))
        state = self.model.files[identifier]
        assert state is not None
        if self.free((state.node, path)):
            self.write({identifier: State(state.node, path, state.size, shown=True)}, replicated)

    @rule(replicated=st.booleans())
    def swap(self, replicated: bool) -> None:
        shown = [
            (name, state) for name, state in self.model.files.items() if state and state.shown and state.node == NODE
        ]
        if len(shown) >= 2:
            (first, a), (second, b) = shown[:2]
            here, there = State(NODE, b.path, a.size, shown=True), State(NODE, a.path, b.size, shown=True)
            self.write({first: here, second: there}, replicated)

    @precondition(lambda self: any(self.model.files.values()))
    @rule(data=st.data(), tombstone=st.booleans(), replicated=st.booleans())
    def delete(self, data: st.DataObject, tombstone: bool, replicated: bool) -> None:
        identifier = data.draw(st.sampled_from(sorted(name for name, state in self.model.files.items() if state)))
        state = self.model.files[identifier]
        assert state is not None
        gone = None if tombstone else State(state.node, state.path, state.size, shown=False)
        self.write({identifier: gone}, replicated)

    # Handling jobs

    @rule(name=names, limit=st.integers(1, 3))
    def take(self, name: str, limit: int) -> None:
        jobs = self.runner.run(self.bed.queue.take(name, limit, day=DAY))
        if name not in self.model.instances:
            assert jobs == []
            return
        expected = self.model.take(name, limit, self.bed.now)
        assert [(job.event, job.sequence, job.attempts, job.previous_export_path) for job in jobs] == [
            (job.event, job.sequence, job.attempts, job.previous) for _, job in expected
        ]
        for job, (identifier, model_job) in zip(jobs, expected, strict=True):
            assert job.file is not None
            assert model_job.given is not None
            state = State(job.file.node_id, job.file.export_path, job.file.size, job.file.status == "active")
            assert state == model_job.given
            assert job.file.file_id == identifier.removeprefix("file::").replace("::", ".")
            self.taken[name, identifier] = job

    def draw(self, data: st.DataObject) -> tuple[str, str, Job]:
        name, identifier = data.draw(st.sampled_from(sorted(self.taken)))
        return name, identifier, self.taken[name, identifier]

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), answer=st.sampled_from([None, {}, {"n": 1}, {"n": 2}]))
    def done(self, data: st.DataObject, answer: dict[str, Any] | None) -> None:
        name, identifier, job = self.draw(data)
        assert self.runner.run(self.bed.queue.done(job, answer))
        assert not self.runner.run(self.bed.queue.done(job, {"n": 3}))
        del self.taken[name, identifier]
        self.model.done(name, identifier, answer)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        name, identifier, job = self.draw(data)
        status = self.runner.run(self.bed.queue.failed(job, "no"))
        del self.taken[name, identifier]
        for_good = job.attempts + 1 >= ATTEMPTS
        due = self.bed.now + int(FIRST_PAUSE_S * 2**job.attempts * 1_000_000)
        expected = self.model.give_back(name, identifier, due=due, for_good=for_good)
        state = self.model.files[identifier]
        if expected == "failed" and job.event != DELETED and state is not None and state.shown:
            self.model.annotations[state.node, state.path, name] = ("failed", {})
        assert status == ("failed" if expected == "failed" else "pending")

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def postpone(self, data: st.DataObject) -> None:
        name, identifier, job = self.draw(data)
        pause = FIRST_PAUSE_S * 2 ** self.model.instances[name].flying[identifier].postponed
        assert self.runner.run(self.bed.queue.failed(job, "away", unavailable=True)) == "pending"
        del self.taken[name, identifier]
        self.model.give_back(name, identifier, due=self.bed.now + int(pause * 1_000_000), unavailable=True)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.taken)))) if self.taken else set()
        jobs = [self.taken.pop(key) for key in sorted(chosen)]
        assert self.runner.run(self.bed.queue.released(jobs)) == len(jobs)
        for name, identifier in sorted(chosen):
            one = self.model.instances[name]
            one.use([one.flying[identifier]], -1)
            self.model.give_back(name, identifier)

    @rule(name=names)
    def retry(self, name: str) -> None:
        if name in self.model.instances:
            failed = [job for job in self.model.instances[name].waiting.values() if job.status == "failed"]
            assert self.runner.run(self.bed.queue.retry(name)) == len(failed)
            for job in failed:
                job.status, job.attempts, job.postponed = "ready", 0, 0

    @precondition(lambda self: self.model.annotations)
    @rule(data=st.data(), whole=st.sampled_from(["plugin", "node_id", "path", ""]))
    def forget(self, data: st.DataObject, whole: str) -> None:
        """Take away the annotation of one file by one instance, or all of that instance, node or file."""
        node, path, plugin = data.draw(st.sampled_from(sorted(self.model.annotations)))
        which = {
            "plugin": WhichAnnotations(plugin=plugin),
            "node_id": WhichAnnotations(node_id=node),
            "path": WhichAnnotations(node_id=node, path=path),
            "": WhichAnnotations(node_id=node, path=path, plugin=plugin),
        }[whole]
        wishes = (which.node_id, which.path, which.plugin)
        keys = [
            key
            for key in sorted(self.model.annotations)
            if all(wish in (None, part) for wish, part in zip(wishes, key, strict=True))
        ]
        assert self.runner.run(self.bed.queue.forget(which)) == len(keys)
        self.model.forget(keys)

    @rule(name=names)
    def pause_or_resume(self, name: str) -> None:
        if name in self.model.instances:
            one = self.model.instances[name]
            self.runner.run(self.bed.queue.resume(name) if one.paused else self.bed.queue.pause(name))
            one.paused = not one.paused

    @rule(name=names)
    def sync(self, name: str) -> None:
        if name in self.model.instances:
            self.runner.run(self.bed.queue.sync(name, "manual"))
            under_way = self.runner.run(self.bed.queue.standing(name)).sync
            if under_way is not None and under_way.phase == "listing":
                self.model.instances[name].sync_until = under_way.documents

    @rule(
        name=names, events=st.sampled_from(EVENTS), everywhere=st.booleans(), small=st.booleans(), enabled=st.booleans()
    )
    def reconfigure(self, name: str, events: tuple[str, ...], everywhere: bool, small: bool, enabled: bool) -> None:
        one = self.model.instances.setdefault(name, ModelInstance(events))
        one.events, one.everywhere, one.small, one.enabled = events, everywhere, small, enabled
        one.unknown = False
        self.subscribe()

    @rule(name=names)
    def lose_the_package(self, name: str) -> None:
        """The instance is there, and nobody knows what it subscribes to."""
        if name in self.model.instances:
            self.model.instances[name].unknown, self.model.instances[name].enabled = True, False
            self.subscribe()

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.model.instances.pop(name, None)
        for key in [key for key in self.taken if key[0] == name]:
            job = self.taken.pop(key)
            self.subscribe()
            assert not self.runner.run(self.bed.queue.done(job, {"n": 4}))
        self.subscribe()

    @rule(name=names)
    def begin_anew(self, name: str) -> None:
        """One that knows nothing is told of all by a full sync, of which most still waits."""
        self.remove(name)
        self.reconfigure(name, FILES, everywhere=True, small=False, enabled=True)
        self.sync(name)
        self.take(name, 1)

    @rule(seconds=st.integers(0, 10))
    def time_passes(self, seconds: int) -> None:
        self.bed.now += seconds * 1_000_000

    @rule()
    def crash(self) -> None:
        """Go on with the file as it is on disk at this moment, in the middle of everything."""
        path = self.bed.path.with_name(f"{len(self.dead) + 1}.db")
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self.bed.path}{suffix}", f"{path}{suffix}")
        self.dead.append(self.bed)
        now, self.bed = self.bed.now, Bed(path)
        self.bed.now = now
        self.runner.run(self.bed.open())
        for key, job in sorted(self.taken.items(), key=lambda item: (item[0][0], item[1].sequence)):
            self.model.give_back(*key)
            assert not self.runner.run(self.bed.queue.done(job, {"n": 5}))
        self.taken.clear()

    # What must hold

    @invariant()
    def jobs_agree(self) -> None:
        rows = self.bed.store.reader.rows(
            """SELECT i.name, j.doc, j.event, j.status, j.sequence, j.attempts, j.postponed, j.due, j.delivered,
            j.previous
            FROM jobs j JOIN job_instances i USING(instance) WHERE i.name IS NOT NULL"""
        )
        numbers = (None, ADDED, MODIFIED, DELETED)
        stored = sorted(
            (
                name,
                self.bed.store.reader.id_of_doc(doc),
                numbers[event],
                STATUS_COLUMNS[status],
                *rest[:4],
                bool(rest[4]),
                rest[5] or "",
            )
            for name, doc, event, status, *rest in rows
        )
        expected = sorted(
            (
                name,
                identifier,
                job.event,
                job.status,
                job.sequence,
                job.attempts,
                job.postponed,
                job.due,
                job.delivered,
                job.previous or "",
            )
            for name, one in self.model.instances.items()
            for jobs in (one.waiting, one.flying)
            for identifier, job in jobs.items()
        )
        assert stored == expected
        columns = ", ".join(STATUS_COLUMNS)
        for name, *counts in self.bed.store.reader.rows(
            f"SELECT name, {columns} FROM job_instances WHERE name NOT NULL"
        ):
            assert counts == [sum(row[0] == name and row[3] == status for row in stored) for status in STATUS_COLUMNS]

    @invariant()
    def syncs_come_to_their_end(self) -> None:
        """One that waits for jobs has some to wait for."""
        stuck = self.bed.store.reader.rows(
            """SELECT instance FROM job_syncs s WHERE phase = ? AND NOT EXISTS (SELECT 1 FROM jobs j
            WHERE j.instance = s.instance AND j.sequence <= s.last_sequence AND j.status != ?)""",
            (FINISHING, FAILED),
        )
        assert stuck == []

    @invariant()
    def usage_agrees(self) -> None:
        rows = self.bed.store.reader.rows("SELECT name, day_jobs, day_bytes FROM job_instances WHERE name NOT NULL")
        assert {name: (jobs, size) for name, jobs, size in rows} == {
            name: one.used for name, one in self.model.instances.items()
        }

    @invariant()
    def ledgers_agree(self) -> None:
        rows = self.bed.store.reader.rows(
            """SELECT i.name, l.doc, l.mtime, l.size FROM job_ledger l JOIN job_instances i USING(instance)
            WHERE i.name NOT NULL"""
        )
        stored = {
            (name, self.bed.store.reader.id_of_doc(doc)): None if mtime is None else size
            for name, doc, mtime, size in rows
        }
        assert stored == {
            (name, identifier): size
            for name, one in self.model.instances.items()
            for identifier, size in one.ledger.items()
        }

    @invariant()
    def annotations_agree(self) -> None:
        found = {
            (document["node_id"], document["export_path"], document["plugin_name"]): (
                document["status"],
                document["data"],
            )
            for document in self.bed.store.reader.documents_of("annotation")
        }
        assert found == self.model.annotations


def rev_of(packed: bytes | str) -> str:
    return packed if isinstance(packed, str) else packed.hex()


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
