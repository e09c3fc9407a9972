"""Protects the promise of plugins against SIGKILL of the whole agent at any moment, with jobs in flight at a program
that is run for each event and at one that listens: nothing is lost, and nothing that was acknowledged is done again.

What the programs are given is written down by them, where MosaicFS does not see it. Twenty-five kills, or as many as
``MOSAICFS_KILL_ROUNDS`` says.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mosaicfs_core.documents import ids, times
from mosaicfs_core.home import Home
from mosaicfs_core.jobs import JobQueue
from mosaicfs_core.jobs.schema import IN_FLIGHT, STATUS_COLUMNS
from mosaicfs_core.store import Store

ROUNDS = int(os.environ.get("MOSAICFS_KILL_ROUNDS", "25"))
CHILD = Path(__file__).with_name("kill_child.py")
LISTENING = Path(__file__).with_name("listening_program.py")
EVENTS = ("file.added", "file.modified", "file.deleted")
TYPES = {"each": "executable", "stays": "socket"}
"""The instances, and how they run."""
COUNTING = """#!/bin/sh
read -r given
[ "$given" ] || exit 1  # the agent was killed before it said what for
printf '%s\\n' "$given" >>"{log}"
size=${{given##*\\"size\\":}}
case $given in
*'"event":"file.deleted"'*) echo '{{}}' ;;
*) echo "{{\\"size\\": ${{size%%[,\\}}]*}}}}" ;;
esac
"""


class Given(NamedTuple):
    """An event that a program was given."""

    sequence: int
    event: str
    path: str
    size: int


class Bed:
    """A home, a tree, and the two programs with what they have written down."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.home, self.tree, self._spare = Home(directory / "home"), directory / "tree", directory / "spare"
        self.logs = {name: directory / f"{name}.log" for name in TYPES}
        self._chance, self._number = chance, 0
        for made in (self.tree, self._spare, self.home.plugins_dir, self.home.run_dir / "plugin-sockets"):
            made.mkdir(parents=True, mode=0o700)
        for log in self.logs.values():
            log.touch()
        program = self.home.plugins_dir / "each"
        program.write_text(COUNTING.format(log=self.logs["each"]))
        program.chmod(0o700)

    async def settle(self) -> None:
        """Write the instances and the tables of the queue down, before anything runs."""
        node_id = self.home.node_id()
        async with await Store.open(self.home.replica) as store:
            queue = JobQueue(store, node_id)
            await queue.open()
            await queue.close()
            for name, kind in TYPES.items():
                await store.put(
                    {
                        "_id": ids.plugin_document_id(node_id, name),
                        "type": "plugin",
                        "node_id": node_id,
                        "plugin_name": name,
                        "plugin_type": kind,
                        "name": name,
                        "subscribed_events": list(EVENTS),
                        "workers": 4,
                        "created_at": times.now_text(),
                    }
                )

    def stir(self, files: int) -> None:
        """Write so many files anew, each with a size that no file had before, and have a few go or move. A file comes
        to its place whole, so that nobody sees one that is being written."""
        for path in self._chance.sample(sorted(self.tree.iterdir()), min(len(self.files()), files // 4)):
            if self._chance.random() < 0.5:
                path.unlink()
            else:
                self._number += 1
                path.rename(self.tree / f"moved-{self._number}")
        for _ in range(files):
            self._number += 1
            made = self._spare / "file"
            made.write_bytes(b"x" * self._number)
            made.rename(self.tree / f"{self._chance.randrange(120)}")

    def files(self) -> dict[str, int]:
        """The size of each file in the tree."""
        return {str(path): path.stat().st_size for path in self.tree.iterdir()}

    def given(self, name: str) -> list[Given]:
        """What a program was given so far, in order."""
        found = [json.loads(line) for line in self.logs[name].read_text().splitlines()]
        return [Given(one["sequence"], one["event"], *_file(one["payload"])) for one in found]


def _file(payload: dict[str, Any]) -> tuple[str, int]:
    return payload["export_path"], payload["size"]


class Standing(NamedTuple):
    """What the replica holds of an instance: sequences of its jobs, how many are in flight, and the files (path, size)
    that its ledger shows done as they are and that nothing more is to be told of."""

    waiting: set[int]
    in_flight: int
    done: set[tuple[str, int]]


def standing(replica: Path, name: str) -> Standing:
    """How an instance stands in a replica that nobody has open, which is whole and whose counts are true."""
    with closing(sqlite3.connect(replica)) as connection:
        found = connection.execute(
            f"SELECT instance, {', '.join(STATUS_COLUMNS)} FROM job_instances WHERE name = ?", (name,)
        ).fetchone()
        if found is None:
            return Standing(set(), 0, set())
        instance, *counts = found
        jobs = connection.execute("SELECT sequence, status FROM jobs WHERE instance = ?", (instance,)).fetchall()
        assert counts == [sum(job[1] == status for job in jobs) for status in range(len(STATUS_COLUMNS))]
        done = connection.execute(
            """SELECT p.path || '/' || d.name, d.size FROM job_ledger l JOIN documents d ON d.doc = l.doc
            JOIN directories p ON p.dir = d.dir
            WHERE l.instance = ?1 AND d.shown = 1 AND l.mtime = d.mtime AND l.size = d.size
            AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.instance = ?1 AND j.doc = d.doc)""",
            (instance,),
        ).fetchall()
        return Standing({job[0] for job in jobs}, counts[IN_FLIGHT], set(done))


class Witness:
    """What must never be given again, over all lives of the agent."""

    def __init__(self) -> None:
        self._heard = dict.fromkeys(TYPES, 0)
        self._over: dict[str, set[int]] = {name: set() for name in TYPES}
        self._done: dict[str, set[tuple[str, int]]] = {name: set() for name in TYPES}
        self.in_flight: list[int] = []

    def look(self, bed: Bed) -> None:
        """After a kill: what was given since the last one was still to be given then, and what is acknowledged now is
        not."""
        stands = {name: standing(bed.home.replica, name) for name in TYPES}
        for name, now in stands.items():
            events = bed.given(name)
            for one in events[self._heard[name] :]:
                assert one.sequence not in self._over[name], f"{name} was given {one} again"
                assert one.event == "file.deleted" or one[2:] not in self._done[name], f"{name} did {one} twice"
            self._heard[name] = len(events)
            self._over[name] |= {one.sequence for one in events} - now.waiting
            self._done[name] |= now.done
        self.in_flight.append(sum(now.in_flight for now in stands.values()))


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path, random.Random())
    listening = made.home.run_dir / "plugin-sockets" / "stays.sock"
    command = [sys.executable, "-I", "-S", LISTENING, listening, made.logs["stays"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield made
        process.kill()


def kill_at_random(agent: Any, bed: Bed, chance: random.Random) -> None:
    """Start the agent, let files change under it, and kill it at some moment of its start or of its work."""
    agent.start(str(bed.home.path), str(bed.tree))
    if chance.random() < 0.15:
        time.sleep(chance.uniform(0.0, 0.5))
    else:
        assert agent.line() == "open"
        bed.stir(30)
        time.sleep(chance.uniform(0.0, 0.5))
    agent.kill()


def quick_check(replica: Path) -> str:
    with closing(sqlite3.connect(replica)) as connection:
        return str(connection.execute("PRAGMA quick_check").fetchone()[0])


async def annotations(bed: Bed, name: str) -> dict[str, int]:
    """The size that a program's annotation of each file tells; there is one of a file at most, and none has failed."""
    async with await Store.open(bed.home.replica) as store:
        found = store.reader.documents_of("annotation.plugin", (name,))
    assert {one["status"] for one in found} == {"ok"}
    assert len({one["export_path"] for one in found}) == len(found)
    return {one["export_path"]: one["data"]["size"] for one in found}


def struck(witness: Witness) -> int:
    """How many kills came while jobs were in flight."""
    return sum(number > 0 for number in witness.in_flight)


@pytest.mark.timeout(max(120, 6 * ROUNDS))
def test_a_killed_agent_loses_nothing_and_repeats_nothing(bed: Bed, fork_server: Any) -> None:
    chance, witness, agent = random.Random(), Witness(), fork_server(CHILD)
    asyncio.run(bed.settle())
    for number in range(4 * ROUNDS):
        if number >= ROUNDS and struck(witness) >= ROUNDS / 4:
            break  # on a machine that is fast many kills find nothing under way, and more of them are needed
        bed.stir(50)
        kill_at_random(agent, bed, chance)
        assert quick_check(bed.home.replica) == "ok"
        witness.look(bed)
    agent.start(str(bed.home.path), str(bed.tree))
    assert [agent.line(), agent.line()] == ["open", "idle"]
    agent.kill()
    witness.look(bed)
    for name in TYPES:
        assert asyncio.run(annotations(bed, name)) == bed.files()
        assert standing(bed.home.replica, name).done == set(bed.files().items())
        assert {one[2:] for one in bed.given(name)} >= set(bed.files().items())
    print(
        f"{len(witness.in_flight)} kills, {struck(witness)} with jobs in flight ({sum(witness.in_flight)} in all), "
        + "events given: "
        + ", ".join(f"{name} {len(bed.given(name))}" for name in TYPES)
    )
    assert struck(witness) >= ROUNDS / 4
