"""A bed for the cache: an owner on loopback and a cache that reads from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.content.bed import Bed


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    """A running bed without limits."""
    made = Bed(tmp_path / "cache")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make_bed(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """``await make_bed(capacity=…)``."""
    made: list[Bed] = []

    async def make(place: Path | None = None, **settings: Any) -> Bed:
        one = Bed(place or tmp_path / f"cache{len(made)}", **settings)
        await one.start()
        made.append(one)
        return one

    yield make
    for one in made:
        await one.stop()
