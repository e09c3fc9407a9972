"""The contracts of work hooks: one fixture, ``mosaicfs_work``, and every way to run the plugin.

A subclass may narrow ``mosaicfs_transports``; what needs a kind of plugins that is not installed is skipped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from importlib_metadata import entry_points

from mosaicfs_core.hooks import ENTRY_POINT_GROUP, FileRecord, RunningPlugin
from mosaicfs_core.testing import work_checks
from mosaicfs_core.testing.harness import Harness
from mosaicfs_core.testing.transports import TRANSPORTS, running
from mosaicfs_core.testing.work_checks import WorkSource


class _OverTransports:
    """A contract that runs over every way to run a plugin."""

    mosaicfs_transports: tuple[str, ...] = TRANSPORTS

    @asynccontextmanager
    async def _bed(
        self, source: WorkSource, transport: str, path: Path
    ) -> AsyncIterator[tuple[Harness, RunningPlugin, list[FileRecord]]]:
        """The plugin running that way, and the source's files, indexed."""
        if transport not in self.mosaicfs_transports:
            pytest.skip(f"it is not meant to run as {transport}")
        if transport in ("executable", "socket") and not entry_points(group=ENTRY_POINT_GROUP, name="external"):
            pytest.skip(f"nothing installed here runs plugins of the type {transport}")
        async with running(source.plugin, transport, path / "home", source.settings) as (harness, made):
            yield harness, made, await work_checks.make_files(harness, source, path / "files")


@pytest.mark.parametrize("transport", TRANSPORTS)
class FileEventContract(_OverTransports):
    """What every annotator and indexer must hold. Give a fixture ``mosaicfs_work`` that returns a ``WorkSource``."""

    async def test_events_that_come_again_are_answered_alike(
        self, mosaicfs_work: WorkSource, transport: str, tmp_path: Path
    ) -> None:
        async with self._bed(mosaicfs_work, transport, tmp_path) as (harness, made, files):
            await work_checks.check_replay(harness, made, files)

    async def test_a_file_that_vanished_is_no_hang_and_its_deletion_no_error(
        self, mosaicfs_work: WorkSource, transport: str, tmp_path: Path
    ) -> None:
        async with self._bed(mosaicfs_work, transport, tmp_path) as (harness, made, files):
            await work_checks.check_gone(harness, made, files)

    async def test_a_full_sync_may_surround_events_or_nothing(
        self, mosaicfs_work: WorkSource, transport: str, tmp_path: Path
    ) -> None:
        async with self._bed(mosaicfs_work, transport, tmp_path) as (harness, made, files):
            await work_checks.check_sync(harness, made, files)


@pytest.mark.parametrize("transport", TRANSPORTS)
class QueryContract(_OverTransports):
    """What every plugin that answers questions must hold. Give a fixture ``mosaicfs_work``."""

    async def test_odd_questions_are_answered_in_time_and_within_the_limit(
        self, mosaicfs_work: WorkSource, transport: str, tmp_path: Path
    ) -> None:
        async with self._bed(mosaicfs_work, transport, tmp_path) as (harness, made, files):
            await work_checks.check_all_questions(harness, made, files)
