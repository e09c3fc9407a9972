"""Protects the contracts of work hooks: a good plugin holds them in every way to run it, and bad ones are caught."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mosaicfs_core.hooks import HOOK_API, Endpoint, Hit, PluginManifest, ResultEnvelope, hookimpl
from mosaicfs_core.testing import FileEventContract, QueryContract, WorkSource, plugin_at, work_checks
from mosaicfs_core.testing.transports import running

GOOD = """
from mosaicfs_core.hooks import *

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Good", description="Counts.", version="1", hook_api=HOOK_API, subscribed_events=EVENTS,
                          queries=(Endpoint(name="q", capability="search"),))

@hookimpl
async def mosaicfs_file_event(context, event):
    if event.event not in ("file.added", "file.modified"):
        return None
    with open(event.local_path or event.file.export_path, "rb") as file:
        return {"bytes": len(file.read())}

@hookimpl
async def mosaicfs_query(context, request):
    return ResultEnvelope(results=tuple(Hit(score=1.0) for _ in range(min(2, request.limit))))
"""


@pytest.fixture
def mosaicfs_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkSource:
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "good_worker.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return WorkSource(plugin_at("good", "good_worker"), {"a.txt": b"abc", "b.txt": b""})


@pytest.mark.logs("mosaicfs_file_event failed|No such file")
class TestGoodEvents(FileEventContract):
    pass


class TestGoodQueries(QueryContract):
    pass


def bad(monkeypatch: pytest.MonkeyPatch, **hooks: Any) -> Any:
    module = ModuleType("bad_worker")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(
            title="Bad",
            description="Is caught.",
            version="1",
            hook_api=HOOK_API,
            subscribed_events=("file.added",),
            queries=(Endpoint(name="q", capability="search"),),
        )

    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, **{name: hookimpl(one) for name, one in hooks.items()})
    monkeypatch.setitem(sys.modules, "bad_worker", module)
    return plugin_at("bad", "bad_worker")


async def test_one_that_answers_a_replay_otherwise_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    async def mosaicfs_file_event(context: Any, event: Any) -> Any:
        nonlocal count
        count += 1
        return {"count": count}

    plugin = bad(monkeypatch, mosaicfs_file_event=mosaicfs_file_event)
    async with running(plugin, "package", tmp_path / "home") as (harness, made):
        files = await work_checks.make_files(harness, WorkSource(plugin, {"a": b"x"}), tmp_path / "files")
        with pytest.raises(AssertionError, match="answered otherwise"):
            await work_checks.check_replay(harness, made, files)


@pytest.mark.logs("mosaicfs_query failed")
async def test_one_that_floods_or_fails_on_odd_questions_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mosaicfs_query(context: Any, request: Any) -> ResultEnvelope:
        if not isinstance(request.query, str):
            raise TypeError("no text")
        return ResultEnvelope(results=tuple(Hit() for _ in range(100 if request.query == "" else 0)))

    plugin = bad(monkeypatch, mosaicfs_query=mosaicfs_query)
    async with running(plugin, "package", tmp_path / "home") as (_, made):
        with pytest.raises(AssertionError, match="100 results, at most 3 were asked for"):
            await work_checks.check_questions(made, "search", "q")
        with pytest.raises(AssertionError, match=r"made it fail: .*no text"):
            await work_checks.check_questions(made, "search", "q", limit=100)
