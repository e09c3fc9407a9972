"""Protects the watcher from diverging: whatever happens to a tree that it watches, in whatever rhythm, the replica
becomes equal to ``os.walk``, without a crawl and while crawls look at it, too."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

FILES = ("a", "b", "c")
DIRECTORIES = ("D", "E", "F")
EITHER = ("a", "b", "D", "E", "M")
MARK = "mark"
GAPS_S = (0, 0, 0, 0.05, 0.3, 0.8)
OPERATIONS = ("write", "write", "make", "move", "move", "move", "swap", "remove", "leave", "enter", "save")


class Tree:
    """Does one thing after the other to ``root``, chosen by ``choose``; what leaves it lies in ``outside``."""

    def __init__(self, root: Path, outside: Path, choose: random.Random) -> None:
        self.root, self.outside, self._choose = root, outside, choose
        self.done: list[tuple[str, ...]] = []

    def step(self) -> None:
        """Do something, if the tree permits it."""
        kind = self._choose.choice(OPERATIONS)
        try:
            paths = getattr(self, f"_{kind}")()
        except (OSError, IndexError):  # a file where a directory is wanted, a directory into itself, or nothing there
            return
        self.done.append((kind, *(os.fspath(path).replace(f"{self.root}/", "") for path in paths)))

    def _directory(self) -> Path:
        return Path(self._choose.choice(sorted(directory for directory, _, _ in os.walk(self.root))))

    def _anything(self) -> Path:
        found = {Path(at) / name for at, below, files in os.walk(self.root) for name in below + files}
        return self._choose.choice(sorted(found - {self.root / MARK}))

    def _free(self) -> Path:
        path = self._directory() / self._choose.choice(EITHER)
        if os.path.lexists(path):
            raise FileExistsError(path)
        return path

    def _write(self) -> list[Path]:
        path = self._directory() / self._choose.choice(FILES)
        path.write_text("x" * self._choose.randrange(50))
        return [path]

    def _make(self) -> list[Path]:
        path = self._directory() / self._choose.choice(DIRECTORIES) / self._choose.choice("GH")
        path.mkdir(parents=True, exist_ok=True)
        (path / "z").write_text("z")
        return [path]

    def _move(self) -> list[Path]:
        source, target = self._anything(), self._free()
        os.rename(source, target)
        return [source, target]

    def _swap(self) -> list[Path]:
        one, other = self._anything(), self._anything()
        between = self.root / "between"
        if one in other.parents or other in one.parents:
            raise OSError("one lies in the other")
        os.rename(one, between)
        os.rename(other, one)
        os.rename(between, other)
        return [one, other]

    def _remove(self) -> list[Path]:
        path = self._anything()
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [path]

    def _leave(self) -> list[Path]:
        source = self._anything()
        target = self.outside / f"{source.name}{len(self.done)}"
        os.rename(source, target)
        return [source, target]

    def _enter(self) -> list[Path]:
        source = self.outside / self._choose.choice(sorted(os.listdir(self.outside)))
        target = self._free()
        os.rename(source, target)
        return [source, target]

    def _save(self) -> list[Path]:
        path = self._anything()
        part = path.with_name(f"{path.name}.part")
        part.write_text("s" * self._choose.randrange(90))
        os.replace(part, path)
        return [path]


async def play(node: Any, outside: Path, seed: int, *, rounds: int, steps: int, crawls: bool) -> None:
    """A random history of a started node's tree. Each round ends with a mark: when it is indexed, all before it is."""
    choose = random.Random(seed)
    tree = Tree(node.tree, outside, choose)
    for turn in range(rounds):
        crawling = []
        for _ in range(steps):
            if crawls and choose.random() < 0.4:
                crawling.append(asyncio.create_task(node.crawl()))
            tree.step()
            await asyncio.sleep(choose.choice(GAPS_S))
        tree.done.append(("mark",))
        (node.tree / MARK).write_text("m" * (turn + 1))
        await asyncio.gather(*crawling)
        try:
            await node.settled(node.agrees, within=10)
        except TimeoutError:
            has, wanted = {path: (row.size, row.mtime) for path, row in node.rows().items()}, node.on_disk()
            wrong = {path: (has.get(path), wanted.get(path)) for path in has.keys() | wanted.keys()}
            wrong = {path: facts for path, facts in wrong.items() if facts[0] != facts[1]}
            pytest.fail(f"seed {seed}, round {turn}: {wrong} after {tree.done[-2 * steps :]}")


@pytest.mark.parametrize("crawls", [False, True])
async def test_any_history_of_a_watched_tree(node: Any, tmp_path: Path, crawls: bool) -> None:
    (tmp_path / "outside").mkdir()
    (node.tree / "anchor").write_text("")  # an empty root would have to be looked at twice
    await node.configure(watch=True)
    await node.start()
    await play(node, tmp_path / "outside", 21, rounds=2, steps=10, crawls=crawls)
