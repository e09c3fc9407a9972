"""The contract classes that a plugin author subclasses.

``PluginContract`` wants one class attribute, ``mosaicfs_plugin``; ``CrawlContract`` one fixture, ``mosaicfs_source``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from importlib_metadata import EntryPoint

from mosaicfs_core.testing import checks, crawl_checks
from mosaicfs_core.testing.model import CrawlSource


class PluginContract:
    """What every plugin must hold. ``mosaicfs_plugin``: the entry point's name, or a ``plugin_at(name, module)``."""

    mosaicfs_plugin: str | EntryPoint

    async def test_loads_in_a_clean_process(self, tmp_path: Path) -> None:
        await checks.check_clean_process(self.mosaicfs_plugin, tmp_path)

    async def test_manifest_is_valid(self, tmp_path: Path) -> None:
        await checks.check_manifest(self.mosaicfs_plugin, tmp_path)

    async def test_settings_schema_is_renderable(self, tmp_path: Path) -> None:
        await checks.check_settings_schema(self.mosaicfs_plugin, tmp_path)

    async def test_registration_hooks_answer_rightly(self, tmp_path: Path) -> None:
        await checks.check_hooks(self.mosaicfs_plugin, tmp_path)

    async def test_starts_and_stops_twice_and_leaves_nothing(self, tmp_path: Path) -> None:
        await checks.check_start_and_stop(self.mosaicfs_plugin, tmp_path)


class CrawlContract:
    """What every crawl must hold. Give a fixture ``mosaicfs_source`` that returns a ``CrawlSource``, empty at first."""

    async def test_names_what_is_there_and_a_second_crawl_changes_nothing(
        self, mosaicfs_source: CrawlSource, tmp_path: Path
    ) -> None:
        with _skipping():
            await crawl_checks.check_names(mosaicfs_source, tmp_path / "home")

    async def test_a_changed_file_is_seen(self, mosaicfs_source: CrawlSource, tmp_path: Path) -> None:
        with _skipping():
            await crawl_checks.check_changed(mosaicfs_source, tmp_path / "home")

    async def test_a_removed_file_is_gone_and_the_others_stay(
        self, mosaicfs_source: CrawlSource, tmp_path: Path
    ) -> None:
        with _skipping():
            await crawl_checks.check_removed(mosaicfs_source, tmp_path / "home")

    async def test_odd_names_survive(self, mosaicfs_source: CrawlSource, tmp_path: Path) -> None:
        with _skipping():
            await crawl_checks.check_odd_names(mosaicfs_source, tmp_path / "home")

    async def test_a_cancelled_crawl_deletes_nothing_and_the_next_converges(
        self, mosaicfs_source: CrawlSource, tmp_path: Path
    ) -> None:
        with _skipping():
            await crawl_checks.check_cancelled(mosaicfs_source, tmp_path / "home")

    async def test_what_cannot_be_read_is_reported_and_not_deleted(
        self, mosaicfs_source: CrawlSource, tmp_path: Path
    ) -> None:
        with _skipping():
            await crawl_checks.check_unreadable(mosaicfs_source, tmp_path / "home")


@contextmanager
def _skipping() -> Iterator[None]:
    """Skip the test where a check says that it does not apply."""
    try:
        yield
    except crawl_checks.NotApplicable as reason:
        pytest.skip(str(reason))
