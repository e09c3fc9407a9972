"""The kit's fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mosaicfs_core.home import Home
from mosaicfs_core.testing.harness import Harness


@pytest.fixture
def mosaicfs_home(tmp_path: Path) -> Home:
    """A throw-away home, prepared."""
    return Home(tmp_path / "home").prepare()


@pytest_asyncio.fixture
async def mosaicfs_host(mosaicfs_home: Home) -> AsyncIterator[Harness]:
    """A throw-away MosaicFS with the plugins that are installed."""
    async with Harness.start(mosaicfs_home.path) as harness:
        yield harness
