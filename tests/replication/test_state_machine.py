"""Protects convergence: two or three stores, random edits and conflicts at each, replication that breaks at any
request, restarts and restores in between; afterwards all have the same documents, revisions and leaves."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from itertools import permutations
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.replication import ConflictResolver, Peer, Replicator, StorePeer
from mosaicfs_core.store import Store
from mosaicfs_core.testing.peers import Flaky, Picky, Time
from mosaicfs_core.testing.store import assignment, file_document

PATHS = ["/a", "/b", "/c"]
SITES = st.integers(0, 2)


class Replicas(RuleBasedStateMachine):
    """Three stores. ``teardown`` lets them replicate undisturbed, and looks at what they have then."""

    @initialize(count=st.integers(2, 3))
    def start(self, count: int) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.paths = [Path(self.folder.name) / f"{number}.db" for number in range(count)]
        self.stores = [self.runner.run(Store.open(path)) for path in self.paths]

    def site(self, number: int) -> int:
        return number % len(self.stores)

    @rule(site=SITES, path=st.sampled_from(PATHS), size=st.integers(0, 3), deleted=st.booleans())
    def edit(self, site: int, path: str, size: int, deleted: bool) -> None:
        store = self.stores[self.site(site)]
        document = file_document(path, size=size)

        def edited(present: dict[str, Any] | None) -> dict[str, Any] | None:
            if present is None:
                return document
            return {"_deleted": True, "type": "file", "source": document["source"]} if deleted else document

        self.runner.run(store.update(document["_id"], edited))

    @rule(site=SITES, labels=st.sets(st.sampled_from(["red", "blue"])))
    def label(self, site: int, labels: set[str]) -> None:
        store = self.stores[self.site(site)]
        document = assignment("/a", *sorted(labels))
        self.runner.run(store.update(document["_id"], lambda _: document))

    @rule(site=SITES)
    def settle(self, site: int) -> None:
        store = self.stores[self.site(site)]
        self.runner.run(ConflictResolver(store, lambda _: True).settle_all())

    @rule(source=SITES, step=st.integers(1, 2))
    def replicate(self, source: int, step: int) -> None:
        self.runner.run(self.once(self.site(source), self.site(source + step)))

    @rule(source=SITES, step=st.integers(1, 2), at=st.integers(1, 8), late=st.booleans(), breaks=st.sampled_from("st"))
    def replicate_until_cut(self, source: int, step: int, at: int, late: bool, breaks: str) -> None:
        here, there = self.site(source), self.site(source + step)
        sides: list[Peer] = [StorePeer(self.stores[here]), StorePeer(self.stores[there])]
        number = "st".index(breaks)
        sides[number] = Flaky(sides[number], at, late=late)
        try:
            self.runner.run(self.once(here, there, *sides))
        except Unavailable:
            return

    @rule(source=SITES, step=st.integers(1, 2), path=st.sampled_from(PATHS), times=st.integers(1, 5))
    def replicate_with_stumbles(self, source: int, step: int, path: str, times: int) -> None:
        here, there = self.site(source), self.site(source + step)
        target = Picky(StorePeer(self.stores[there]), stumbles={file_document(path)["_id"]: times})
        self.runner.run(self.once(here, there, StorePeer(self.stores[here]), target))

    @rule(site=SITES)
    def restart(self, site: int) -> None:
        number = self.site(site)
        self.runner.run(self.stores[number].close())
        self.stores[number] = self.runner.run(Store.open(self.paths[number]))

    @rule(site=SITES)
    def back_up(self, site: int) -> None:
        number = self.site(site)
        self.runner.run(self.stores[number].close())
        shutil.copy(self.paths[number], self.paths[number].with_suffix(".backup"))
        self.stores[number] = self.runner.run(Store.open(self.paths[number]))

    @precondition(lambda self: any(path.with_suffix(".backup").exists() for path in self.paths))
    @rule(site=SITES)
    def restore(self, site: int) -> None:
        number = self.site(site)
        backup = self.paths[number].with_suffix(".backup")
        if backup.exists():
            self.replace(number, backup)

    @rule(site=SITES)
    def make_anew(self, site: int) -> None:
        self.replace(self.site(site), None)

    def replace(self, number: int, backup: Path | None) -> None:
        self.runner.run(self.stores[number].close())
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.paths[number]}{suffix}").unlink(missing_ok=True)
        if backup is not None:
            shutil.copy(backup, self.paths[number])
        self.stores[number] = self.runner.run(Store.open(self.paths[number]))

    async def once(self, source: int, target: int, *sides: Peer) -> None:
        if source == target:
            return
        pair = sides or (StorePeer(self.stores[source]), StorePeer(self.stores[target]))
        replicator = Replicator(*pair, direction="push", surroundings=Time().surroundings)
        await replicator.run_once()

    async def everything(self, store: Store) -> dict[str, Any]:
        changes = await store.read(lambda reader: reader.changes(0, 1_000))
        found = {}
        for change in changes:
            tree = store.reader.tree(change.id)
            assert tree is not None
            found[change.id] = (await store.open_revs(change.id), dict(tree.parents), set(tree.deleted))
        return found

    async def converge(self) -> None:
        held = [await self.everything(store) for store in self.stores]
        for _ in range(2):
            for source, target in permutations(range(len(self.stores)), 2):
                await self.once(source, target)
        states = [await self.everything(store) for store in self.stores]
        for state in states[1:]:
            assert {key: value[0] for key, value in state.items()} == {
                key: value[0] for key, value in states[0].items()
            }
        for before in held:
            for identifier, (_, parents, _) in before.items():
                assert set(parents) <= set(states[0][identifier][1])
        # Settling everywhere at once and replicating on ends without conflicts, everywhere the same.
        for _ in range(4):
            for store in self.stores:
                await ConflictResolver(store, lambda _: True).settle_all()
            for source, target in permutations(range(len(self.stores)), 2):
                await self.once(source, target)
        for store in self.stores:
            assert (await store.info()).conflicts == 0
        bodies = [{key: value[0] for key, value in (await self.everything(one)).items()} for one in self.stores]
        assert all(body == bodies[0] for body in bodies)

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            try:
                self.runner.run(self.converge())
            finally:
                for store in self.stores:
                    self.runner.run(store.close())
                self.runner.close()
                self.folder.cleanup()


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
