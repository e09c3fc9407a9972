"""The contract classes that a plugin author subclasses.

``PluginContract`` wants one class attribute, ``mosaicfs_plugin``; ``CrawlContract`` one fixture, ``mosaicfs_source``.
"""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Final

import pytest
from importlib_metadata import EntryPoint

from mosaicfs_core.hooks import CrawlRequest
from mosaicfs_core.testing import checks
from mosaicfs_core.testing.harness import STALL_S, Harness
from mosaicfs_core.testing.model import CrawlModel, CrawlSource

ODD_NAMES: Final = (
    b"plain.txt",
    b"with space and 'quotes\".txt",
    b"new\nline.txt",
    "emoji \N{OK HAND SIGN} and \u00e9.txt".encode(),
    b"not utf-8 \xff\xfe.bin",
    b"x" * 251 + b".txt",
    b"-rf",
    b"[glob]*?.txt",
)


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
        expected = {mosaicfs_source.add(b"one.txt", b"1"): 1, mosaicfs_source.add(b"two.txt", b"22"): 2}
        model = CrawlModel()
        async with _Crawl(mosaicfs_source, tmp_path / "home") as crawl:
            await crawl.run(model)
            assert {path: facts[0] for path, facts in model.files.items()} == expected
            await crawl.run(model)
            assert model.changes == []
            await crawl.run(model, full=True)
            assert model.changes == []

    async def test_a_changed_file_is_seen(self, mosaicfs_source: CrawlSource, tmp_path: Path) -> None:
        path = mosaicfs_source.add(b"file.txt", b"short")
        model = CrawlModel()
        async with _Crawl(mosaicfs_source, tmp_path / "home") as crawl:
            await crawl.run(model)
            mosaicfs_source.add(b"file.txt", b"much longer")
            await crawl.run(model)
            assert model.files[path][0] == len(b"much longer")

    async def test_a_removed_file_is_gone_and_the_others_stay(
        self, mosaicfs_source: CrawlSource, tmp_path: Path
    ) -> None:
        kept, removed = mosaicfs_source.add(b"kept.txt", b"k"), mosaicfs_source.add(b"removed.txt", b"r")
        model = CrawlModel()
        async with _Crawl(mosaicfs_source, tmp_path / "home") as crawl:
            await crawl.run(model)
            mosaicfs_source.remove(removed)
            await crawl.run(model, full=True)
            assert set(model.files) == {kept}

    async def test_odd_names_survive(self, mosaicfs_source: CrawlSource, tmp_path: Path) -> None:
        if not mosaicfs_source.odd_names:
            pytest.skip("the source says that it cannot hold odd names")
        expected = {mosaicfs_source.add(name, name[:9]) for name in ODD_NAMES}
        model = CrawlModel()
        async with _Crawl(mosaicfs_source, tmp_path / "home") as crawl:
            await crawl.run(model)
            assert set(model.files) == expected
            await crawl.run(model)
            assert model.changes == []

    async def test_a_cancelled_crawl_deletes_nothing_and_the_next_converges(
        self, mosaicfs_source: CrawlSource, tmp_path: Path
    ) -> None:
        expected = {mosaicfs_source.add(f"{number}.txt".encode(), b"x") for number in range(20)}
        model = CrawlModel()
        async with _Crawl(mosaicfs_source, tmp_path / "home") as crawl:
            await crawl.run(model)
            await crawl.run_first_item(model)
            assert set(model.files) == expected
            fresh = CrawlModel()
            await crawl.run(fresh, full=True)
            assert set(fresh.files) == expected

    async def test_what_cannot_be_read_is_reported_and_not_deleted(
        self, mosaicfs_source: CrawlSource, tmp_path: Path
    ) -> None:
        expected = {mosaicfs_source.add(name, b"x") for name in (b"a.txt", b"b.txt")}
        model = CrawlModel()
        async with _Crawl(mosaicfs_source, tmp_path / "home") as crawl:
            await crawl.run(model)
            mend = mosaicfs_source.break_part()
            if mend is None:
                pytest.skip("the source says that no part of it can break")
            try:
                await crawl.run(model)
            finally:
                mend()
            assert set(model.files) == expected
            assert model.problems, "the crawl reported no Problem"
            await crawl.run(model, full=True)
            assert set(model.files) == expected
            assert model.problems == []


class _Crawl:
    """One instance of the plugin under test."""

    def __init__(self, source: CrawlSource, path: Path) -> None:
        self._source, self._name = source, checks.name_of(source.plugin)
        self._starting = checks.start(source.plugin, path)

    async def __aenter__(self) -> _Crawl:
        self._harness: Harness = await self._starting.__aenter__()
        self._harness.working(self._name)
        self._context = await self._harness.instance(self._name, self._source.settings)
        problem = self._harness.instances.current[self._name].problem
        assert problem is None, problem
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._starting.__aexit__(None, None, None)

    async def run(self, model: CrawlModel, *, full: bool = False) -> None:
        """Crawl to the end."""
        await self._harness.crawl(self._name, self._context, model, full=full)

    async def run_first_item(self, model: CrawlModel) -> None:
        """Take the first item, then close the crawl."""
        model.begin()
        items = self._harness.host.iterate(
            self._name,
            "mosaicfs_crawl",
            stall_timeout=STALL_S,
            context=self._context,
            request=CrawlRequest(trigger="manual", full=True),
        )
        async with aclosing(items):
            model.apply(await anext(items))
