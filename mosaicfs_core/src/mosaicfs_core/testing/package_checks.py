"""Every check of the kit that applies to a package, as ``mosaicfs plugin check`` runs them: with what can be known of a
package from outside. What only its author's tests know is said to be left to those.
"""

from __future__ import annotations

import asyncio
import fnmatch
import mimetypes
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from importlib_metadata import EntryPoint, entry_points

from mosaicfs_core.documents import paths
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.hooks import ENTRY_POINT_GROUP, FileRecord, RunningPlugin
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.testing import checks, crawl_checks, work_checks
from mosaicfs_core.testing.crawl_checks import Crawl, NotApplicable
from mosaicfs_core.testing.harness import Harness
from mosaicfs_core.testing.model import CrawlModel
from mosaicfs_core.testing.transports import TRANSPORTS, running
from mosaicfs_core.testing.work_checks import WorkSource

SAMPLES: Final = {"poem.txt": b"roses are red\nviolets are blue\n", "empty.txt": b""}
"""Files for plugins that take text, where none are given."""
WorkCheck: TypeAlias = Callable[[Harness, RunningPlugin, list[FileRecord]], Awaitable[None]]
_NEEDS_SOURCE: Final = "nobody else can put files where it finds them: test it with CrawlContract"


@dataclass(frozen=True)
class Given:
    """What the checks are to be run with: settings, files (name to bytes) for a plugin that works on files, and the
    ways to run it (``TRANSPORTS``)."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=lambda: dict(SAMPLES))
    transports: tuple[str, ...] = TRANSPORTS


class Result(NamedTuple):
    """What came of a check: ``problem`` says what is wrong, ``skipped`` why it was not run. ``way`` is one of
    ``TRANSPORTS`` for those that are run in several."""

    check: str
    way: str = ""
    problem: str | None = None
    skipped: str | None = None


class Folder:
    """A folder as ``CrawlSource``, for a package that watches folders of the machine."""

    odd_names = True

    def __init__(self, plugin: str | EntryPoint, settings: Mapping[str, Any], watches: str, root: Path) -> None:
        root.mkdir(parents=True)
        self._root = root
        self.plugin = plugin
        self.settings: Mapping[str, Any] = {**settings, watches: [str(root)]}

    def add(self, name: bytes, content: bytes) -> str:
        """Write a file."""
        path = os.path.join(os.fsencode(self._root), name)
        Path(os.fsdecode(path)).write_bytes(content)
        return paths.escape(path)

    def remove(self, export_path: str) -> None:
        """Remove a file."""
        os.unlink(paths.unescape(export_path))

    def break_part(self) -> Callable[[], None]:
        """Take the folder away, as a disk that is not mounted."""
        away = self._root.with_name("away")
        os.rename(self._root, away)
        return lambda: os.rename(away, self._root)


class _AsItIs:
    """A source that nobody here can change."""

    odd_names = False

    def __init__(self, plugin: str | EntryPoint, settings: Mapping[str, Any]) -> None:
        self.plugin, self.settings = plugin, settings

    def add(self, name: bytes, content: bytes) -> str:
        raise NotApplicable(_NEEDS_SOURCE)

    def remove(self, export_path: str) -> None:
        raise NotApplicable(_NEEDS_SOURCE)

    def break_part(self) -> Callable[[], None] | None:
        raise NotApplicable(_NEEDS_SOURCE)


async def run_all(plugin: str | EntryPoint, path: Path, given: Given) -> AsyncIterator[Result]:
    """Run them in directories below ``path``; each result as it is there."""
    loads = False
    for check, problem in await checks.run_checks(plugin, path / "package"):
        loads = loads or (problem is None and check == checks.check_manifest.__doc__)
        yield Result(check, problem=problem)
    if not loads:
        return
    loaded, unset = await _look(plugin, path / "look", given)
    if "mosaicfs_crawl" in loaded.hooks:
        async for result in _crawls(plugin, loaded, path / "crawl", given, unset):
            yield result
    if "mosaicfs_file_event" in loaded.hooks:
        async for result in _events(plugin, loaded, path / "events", given, unset):
            yield result
    if "mosaicfs_query" in loaded.hooks:
        async for result in _questions(plugin, path / "questions", given, unset):
            yield result


async def _look(plugin: str | EntryPoint, path: Path, given: Given) -> tuple[LoadedPlugin, str | None]:
    """The package, and why an instance of it with these settings cannot run."""
    async with checks.start(plugin, path) as harness:
        loaded = harness.working(checks.name_of(plugin))
        await harness.instance(loaded.name, given.settings)
        return loaded, harness.instances.current[loaded.name].problem


async def _crawls(
    plugin: str | EntryPoint, loaded: LoadedPlugin, path: Path, given: Given, unset: str | None
) -> AsyncIterator[Result]:
    assert loaded.manifest is not None
    watches = loaded.manifest.watches
    if watches is None:
        yield await _result(_crawl_as_it_is, _AsItIs(plugin, given.settings), path / "as-it-is", unset=unset)
    for number, check in enumerate(crawl_checks.CRAWL_CHECKS):
        place = path / str(number)
        if watches is None:
            yield Result(_name(check), skipped=unset or _NEEDS_SOURCE)
        else:
            source = Folder(plugin, given.settings, watches, place / "folder")
            yield await _result(check, source, place / "home")


async def _crawl_as_it_is(source: _AsItIs, path: Path) -> None:
    """names the same again where nothing changed, also after it was cancelled"""
    model = CrawlModel()
    async with Crawl(source, path) as crawl:
        await crawl.run(model)
        await crawl.run_again(model)
        named = dict(model.files)
        if named:
            await crawl.run_first_item(model)
        await crawl.run(model, full=True)
        assert model.files == named, "after it was cancelled it names other files"


async def _events(
    plugin: str | EntryPoint, loaded: LoadedPlugin, path: Path, given: Given, unset: str | None
) -> AsyncIterator[Result]:
    assert loaded.manifest is not None
    globs = loaded.manifest.mime_globs
    types = {name: mimetypes.guess_type(name)[0] or "application/octet-stream" for name in given.files}
    wanted = {name for name, kind in types.items() if not globs or any(fnmatch.fnmatch(kind, one) for one in globs)}
    if not wanted:
        unset = unset or f"it takes {', '.join(globs)}: give such files with --file"
    files = {name: content for name, content in given.files.items() if name in wanted}
    source = WorkSource(plugin, files, given.settings, types)
    for way in given.transports:
        for number, check in enumerate(work_checks.EVENT_CHECKS):
            yield await _result(partial(_over, check, source, way), path / f"{way}-{number}", unset=unset, way=way)


async def _questions(plugin: str | EntryPoint, path: Path, given: Given, unset: str | None) -> AsyncIterator[Result]:
    source = WorkSource(plugin, {}, given.settings)
    for way in given.transports:
        check = partial(_over, work_checks.check_all_questions, source, way)
        yield await _result(check, path / way, unset=unset, way=way)


async def _over(check: WorkCheck, source: WorkSource, way: str, path: Path) -> None:
    if way in TRANSPORTS[2:] and not entry_points(group=ENTRY_POINT_GROUP, name="external"):
        raise NotApplicable(f"nothing installed here runs plugins of the type {way}")
    async with running(source.plugin, way, path / "home", source.settings) as (harness, made):
        await check(harness, made, await work_checks.make_files(harness, source, path / "files"))


def _name(check: Any) -> str:
    """The check's first docstring line; of one over a way to run the plugin that of what is run."""
    inner = check.args[0] if isinstance(check, partial) else check
    return str(inner.__doc__).strip().partition("\n")[0].rstrip(".")


async def _result(
    check: Callable[..., Awaitable[None]], *place: Any, unset: str | None = None, way: str = ""
) -> Result:
    if unset is not None:
        return Result(_name(check), way, skipped=unset)
    try:
        await asyncio.to_thread(place[-1].mkdir, parents=True, exist_ok=True)
        await check(*place)
    except NotApplicable as reason:
        return Result(_name(check), way, skipped=str(reason))
    except (AssertionError, MosaicError) as error:
        return Result(_name(check), way, problem=str(error) or "it fails")
    return Result(_name(check), way)
