"""Protects that a change reaches the kernel even when looking at the replica or listing what changed fails at first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from tests.mount.stand_ins import Changes, Entry, Listing

from mosaicfs_core.errors import Unavailable
from mosaicfs_vfs.fuse.table import Correction, ForgetName

pytest.importorskip("pyfuse3")

from mosaicfs_vfs.fuse import follow as following
from mosaicfs_vfs.fuse.operations import MountOperations


class Source:
    """A tree of ``entries`` by path that can be made to fail. A change is told once, as by the namespace."""

    def __init__(self, **entries: Sequence[Entry]) -> None:
        self.entries = {f"/{name}": tuple(of) for name, of in entries.items()}
        self.version = 0
        self.changed = Changes()
        self.failing: set[str] = set()

    async def run(self, work: Callable[[Any], Any]) -> Any:
        return work(self)

    async def listing(self, path: str, following: Any) -> list[Listing]:
        return [self._list(path)]

    async def listings(self, paths: Sequence[str]) -> list[tuple[str, Listing]]:
        return [(path, self._list(path)) for path in paths]

    def data_version(self) -> int:
        if "look" in self.failing:
            raise Unavailable("the replica cannot be read")
        return self.version

    def seq(self) -> int:
        return self.version

    def next_expiry(self) -> None:
        return None

    def refresh(self) -> Changes:
        told, self.changed = self.changed, Changes()
        return told

    def commit(self, changes: Changes) -> None:
        self.version += 1
        self.changed = changes

    def _list(self, path: str) -> Listing:
        if path in self.failing:
            raise Unavailable(f"{path} cannot be listed")
        return Listing(path, 1 + sorted(self.entries).index(path), self.entries[path])


class Notifier:
    """Notes what the kernel is told."""

    def __init__(self) -> None:
        self.sent: list[Correction] = []
        self.taken: asyncio.Future[None] | None = None

    def send(self, corrections: Sequence[Correction]) -> asyncio.Future[None]:
        self.sent += corrections
        if self.taken is not None:
            return self.taken
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class Pings:
    connected = False

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.told: list[int] = []

    def shown(self, seq: int) -> None:
        self.told.append(seq)


class Mount:
    """The operations over a source, whose listings of all directories the kernel knows, being followed."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.notifier = Notifier()
        self.pings = Pings()
        self.operations = MountOperations(source, None, self.notifier, since=0, disks=None)

    async def __aenter__(self) -> Mount:
        for path in self.source.entries:
            await self.operations._list(path)
        self._task = asyncio.create_task(following.follow(self.source, self.operations, self.pings))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def look(self) -> None:
        """Let it look at the replica once."""
        self.pings.changed.set()
        for _ in range(50):  # nothing here waits for more than the loop's next turn
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PACE_S", 0.0)


pytestmark = pytest.mark.logs("^The tree could not be refreshed")


@pytest.mark.parametrize("fault", ["/a", "look"])
async def test_what_could_not_be_followed_is_made_up_for_at_the_next_look(fault: str) -> None:
    async with Mount(Source(a=[Entry("x", 10)], b=[Entry("y", 11)])) as mount:
        mount.source.entries = {"/a": (), "/b": ()}
        mount.source.failing = {fault}
        mount.source.commit(Changes(directories=frozenset({"/a", "/b"})))
        await mount.look()
        mount.source.failing = set()
        await mount.look()
        assert {ForgetName(1, b"x"), ForgetName(2, b"y")} <= set(mount.notifier.sent)


async def test_changes_told_after_a_failure_come_with_those_before_it() -> None:
    async with Mount(Source(a=[Entry("x", 10)], b=[Entry("y", 11)])) as mount:
        mount.source.entries = {"/a": (), "/b": ()}
        mount.source.failing = {"/a"}
        mount.source.commit(Changes(directories=frozenset({"/a"})))
        await mount.look()
        mount.source.failing = set()
        mount.source.commit(Changes(directories=frozenset({"/b"}), inodes=frozenset({99})))
        await mount.look()
        assert {ForgetName(1, b"x"), ForgetName(2, b"y")} <= set(mount.notifier.sent)
        assert any(getattr(correction, "inode", None) == 99 for correction in mount.notifier.sent)


async def test_what_was_listed_before_the_failure_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Mount(Source(a=[Entry("x", 10)], b=[Entry("y", 11)])) as mount:
        install = mount.operations.table.install

        def fails_for_b(listing: Any) -> Any:
            if listing.path == "/b":
                raise RuntimeError("a bug")
            return install(listing)

        monkeypatch.setattr(mount.operations.table, "install", fails_for_b)
        mount.source.entries = {"/a": (), "/b": ()}
        mount.source.commit(Changes(directories=frozenset({"/a", "/b"})))
        await mount.look()
        assert ForgetName(1, b"x") in mount.notifier.sent


async def test_what_is_shown_is_told_once_the_kernel_has_taken_it() -> None:
    async with Mount(Source(a=[Entry("x", 10)])) as mount:
        await mount.look()
        assert mount.pings.told == [0]
        taken = mount.notifier.taken = asyncio.get_running_loop().create_future()
        mount.source.entries = {"/a": ()}
        mount.source.commit(Changes(seq=7, directories=frozenset({"/a"})))
        await mount.look()
        assert ForgetName(1, b"x") in mount.notifier.sent
        assert mount.pings.told == [0]
        taken.set_result(None)
        await mount.look()
        assert mount.pings.told == [0, 7]


async def test_what_could_not_be_shown_is_not_told() -> None:
    async with Mount(Source(a=[Entry("x", 10)])) as mount:
        mount.source.failing = {"/a"}
        mount.source.commit(Changes(seq=7, directories=frozenset({"/a"})))
        await mount.look()
        assert mount.pings.told == [0]
        mount.source.failing = set()
        mount.source.commit(Changes(seq=8))
        await mount.look()
        assert mount.pings.told == [0, 8]
