"""Protects convergence: whatever happens to a tree between crawls, the replica ends equal to ``os.walk``, and files
that stay or move keep their ids."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "c.txt", "é", "x\ny", "bad\udcff"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, st.text("xyz", max_size=4)),
        st.tuples(st.just("move"), PATHS, PATHS),
        st.tuples(st.just("delete"), PATHS, st.just("")),
        st.tuples(st.just("crawl"), st.just(""), st.just("")),
    ),
    min_size=1,
    max_size=25,
)


def apply(tree: Path, step: tuple[str, str, str]) -> tuple[str, str] | None:
    """Do a step where the tree permits it; a successful move is returned."""
    kind, path, other = step
    target = tree / path
    try:
        if kind == "write":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(other)
        elif kind == "move" and target.exists() and not (tree / other).exists():
            (tree / other).parent.mkdir(parents=True, exist_ok=True)
            os.rename(target, tree / other)
            return path, other
        elif kind == "delete" and target.exists():
            shutil.rmtree(target) if target.is_dir() else target.unlink()
    except OSError:  # a file where a directory is wanted, or a directory into itself: the tree stays as it is
        return None
    return None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_history_of_a_tree(make_node: Callable[..., Any], steps: list[tuple[str, str, str]]) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as base:
            tree = Path(base) / "tree"
            async with make_node(Path(base) / "home", tree) as node:
                (tree / "anchor").mkdir(parents=True)
                (tree / "anchor/f").write_text("")  # an empty root would have to be looked at twice
                await node.start()
                for step in steps:
                    if step[0] == "crawl":
                        await check(node)
                    else:
                        apply(tree, step)
                await check(node)
                assert (await node.crawl()).written == 0

    asyncio.run(play())


async def check(node: Any) -> None:
    """Crawl and compare; whoever is at its path still has the id it had there, unless something moved onto it."""
    before = {path: row.uuid for path, row in node.rows().items()}
    await node.crawl()
    assert node.agrees()
    after = {path: row.uuid for path, row in node.rows().items()}
    assert all(after[path] == uuid for path, uuid in before.items() if path in after)
    assert len(set(after.values())) == len(after)
    inodes = [row.inode for row in node.rows().values()]
    assert len(set(inodes)) == len(inodes)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.integers(0, 7), PATHS), min_size=1, max_size=6))
def test_moves_keep_every_id(make_node: Callable[..., Any], moves: list[tuple[int, str]]) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as base:
            tree = Path(base) / "tree"
            async with make_node(Path(base) / "home", tree) as node:
                tree.mkdir(exist_ok=True)
                for number in range(8):
                    (tree / f"file{number}").write_text(f"content {number}")
                await node.start()
                places = {f"file{number}": f"file{number}" for number in range(8)}
                ids = {path: row.uuid for path, row in node.rows().items()}
                for number, target in moves:
                    moved = apply(tree, ("move", places[f"file{number}"], f"to/{target}/end{number}"))
                    if moved is not None:
                        places[f"file{number}"] = moved[1]
                await node.crawl()
                assert {row.uuid for row in node.rows().values()} == set(ids.values())
                by_content = {
                    (tree / os.fsdecode(os.fsencode(place))).read_text(): name for name, place in places.items()
                }
                assert len(by_content) == 8
                assert node.agrees()

    asyncio.run(play())
