"""The checks of crawls behind ``CrawlContract``, without pytest.

Each takes a source that is empty at first and the directory of a home, raises ``AssertionError`` that says what is
wrong, or ``NotApplicable`` where the source rules the check out, and is named by its first docstring line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

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


class NotApplicable(Exception):
    """No error: why a check says nothing of a plugin."""


async def check_names(source: CrawlSource, path: Path) -> None:
    """names what is there, and the same again"""
    expected = {source.add(b"one.txt", b"1"): 1, source.add(b"two.txt", b"22"): 2}
    model = CrawlModel()
    async with Crawl(source, path) as crawl:
        await crawl.run(model)
        assert {name: facts[0] for name, facts in model.files.items()} == expected
        await crawl.run_again(model)


async def check_changed(source: CrawlSource, path: Path) -> None:
    """sees a file that changed"""
    name = source.add(b"file.txt", b"short")
    model = CrawlModel()
    async with Crawl(source, path) as crawl:
        await crawl.run(model)
        source.add(b"file.txt", b"much longer")
        await crawl.run(model)
        assert model.files[name][0] == len(b"much longer")


async def check_removed(source: CrawlSource, path: Path) -> None:
    """sees that a file is gone, and the others stay"""
    kept, removed = source.add(b"kept.txt", b"k"), source.add(b"removed.txt", b"r")
    model = CrawlModel()
    async with Crawl(source, path) as crawl:
        await crawl.run(model)
        source.remove(removed)
        await crawl.run(model, full=True)
        assert set(model.files) == {kept}


async def check_odd_names(source: CrawlSource, path: Path) -> None:
    """keeps names that are no UTF-8, hold newlines or look like options"""
    if not source.odd_names:
        raise NotApplicable("the source says that it cannot hold odd names")
    expected = {source.add(name, name[:9]) for name in ODD_NAMES}
    model = CrawlModel()
    async with Crawl(source, path) as crawl:
        await crawl.run(model)
        assert set(model.files) == expected
        await crawl.run(model)
        assert model.changes == []


async def check_cancelled(source: CrawlSource, path: Path) -> None:
    """deletes nothing when it is cancelled, and finds everything the next time"""
    expected = {source.add(f"{number}.txt".encode(), b"x") for number in range(20)}
    model = CrawlModel()
    async with Crawl(source, path) as crawl:
        await crawl.run(model)
        await crawl.run_first_item(model)
        assert set(model.files) == expected
        fresh = CrawlModel()
        await crawl.run(fresh, full=True)
        assert set(fresh.files) == expected


async def check_unreadable(source: CrawlSource, path: Path) -> None:
    """reports what cannot be read, and does not delete it"""
    expected = {source.add(name, b"x") for name in (b"a.txt", b"b.txt")}
    model = CrawlModel()
    async with Crawl(source, path) as crawl:
        await crawl.run(model)
        mend = source.break_part()
        if mend is None:
            raise NotApplicable("the source says that no part of it can break")
        try:
            await crawl.run(model)
        finally:
            mend()
        assert set(model.files) == expected
        assert model.problems, "the crawl reported no Problem"
        await crawl.run(model, full=True)
        assert set(model.files) == expected
        assert model.problems == []


Check = Callable[[CrawlSource, Path], Awaitable[None]]
CRAWL_CHECKS: Final[tuple[Check, ...]] = (
    check_names,
    check_changed,
    check_removed,
    check_odd_names,
    check_cancelled,
    check_unreadable,
)


class Crawl:
    """One instance of the plugin under test, in a home at ``path``."""

    def __init__(self, source: CrawlSource, path: Path) -> None:
        self._source, self._name = source, checks.name_of(source.plugin)
        self._starting = checks.start(source.plugin, path)

    async def __aenter__(self) -> Crawl:
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

    async def run_again(self, model: CrawlModel) -> None:
        """Crawl twice where nothing has changed: nothing must come of it."""
        for full in (False, True):
            await self.run(model, full=full)
            assert model.changes == [], f"nothing changed, and it said otherwise: {model.changes[:5]}"

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
