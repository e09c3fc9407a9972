"""Protects the mount from a watched folder that does not answer: others are known at once, and listings do not wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.content import native_roots
from mosaicfs_core.home import Home
from mosaicfs_core.store import Store
from mosaicfs_vfs.fuse import local_roots
from mosaicfs_vfs.fuse.local_roots import LocalRoots


class Machine:
    """A home whose plugin document names folders."""

    def __init__(self, home: Home, store: Store) -> None:
        self.roots = LocalRoots(home)
        self._store = store
        self.provided = os.fsencode(os.path.realpath(home.bridge_dir / "files"))

    async def watch(self, *folders: Path) -> None:
        node = self.roots.node_id
        plugin = {
            "_id": d.plugin_document_id(node, "localfs"),
            "type": "plugin",
            "node_id": node,
            "plugin_name": "localfs",
            "name": "Local files",
            "watches": "paths",
            "settings": {"paths": [str(folder) for folder in folders]},
            "created_at": d.format_time(0),
        }
        await self._store.update(plugin["_id"], lambda _: plugin)
        self.roots.read(self._store.reader)

    def known(self) -> set[bytes]:
        return set(self.roots()) - {self.provided}


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    home = Home(tmp_path / "home").prepare()
    home.node_id("test")
    async with await Store.open(home.replica) as store:
        yield Machine(home, store)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lets the folder called ``hung`` answer at last."""
    may_answer = threading.Event()

    def slow(roots: Any, *more: Any) -> tuple[bytes, ...]:
        if any(root.endswith("/hung") for root in roots):
            may_answer.wait(30)
        return native_roots(roots, *more)

    monkeypatch.setattr(local_roots, "native_roots", slow)
    yield may_answer.set
    may_answer.set()


async def test_links_are_resolved_and_roots_that_are_no_more_are_forgotten(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    await machine.watch(tmp_path / "link", tmp_path / "other")
    assert machine.known() == {os.fsencode(tmp_path / "real"), os.fsencode(tmp_path / "other")}
    await machine.watch(tmp_path / "other")
    assert machine.known() == {os.fsencode(tmp_path / "other")}
    assert machine.provided in machine.roots()


async def test_a_folder_that_hangs_keeps_nothing_else_waiting(
    machine: Machine, tmp_path: Path, answer: Callable[[], None]
) -> None:
    await machine.watch(tmp_path / "hung", tmp_path / "well")
    assert machine.known() == {os.fsencode(tmp_path / "well")}
    begun = time.monotonic()
    for _ in range(100):
        machine.roots.read(machine._store.reader)
    await machine.watch(tmp_path / "hung", tmp_path / "well", tmp_path / "more")
    assert time.monotonic() - begun < 10
    assert machine.known() == {os.fsencode(tmp_path / "well"), os.fsencode(tmp_path / "more")}
    answer()
    with machine.roots._changed:
        assert machine.roots._changed.wait_for(lambda: not machine.roots._asked, timeout=10)
    assert os.fsencode(tmp_path / "hung") in machine.known()


async def test_a_link_that_leads_elsewhere_is_found(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "one")
    await machine.watch(tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    monkeypatch.setattr(local_roots, "_AGAIN_S", 0.0)
    machine.roots.read(machine._store.reader)
    with machine.roots._changed:
        assert machine.roots._changed.wait_for(lambda: not machine.roots._asked, timeout=10)
    assert machine.known() == {os.fsencode(tmp_path / "other")}
