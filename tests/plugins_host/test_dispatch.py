"""Protects whoever calls a hook: time limits, stalls, errors with the plugin's name, cancellation, nonsense refused."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import ModuleType
from typing import Any

import click
import pytest
from importlib_metadata import EntryPoint
from quart import Quart

from mosaicfs_core.errors import PluginError, UserError
from mosaicfs_core.hooks import (
    HOOK_API,
    Complete,
    CrawlRequest,
    Create,
    Delete,
    Directory,
    Entry,
    PluginManifest,
    Rename,
    StepOp,
    hookimpl,
)
from mosaicfs_core.plugins import dispatch
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.operations import check_operation, check_yielded
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.rules import FileFacts, compile_chain
from mosaicfs_core.testing.faults import faulty

pytestmark = pytest.mark.logs("^plugin ")

REQUEST = CrawlRequest(trigger="manual")
GOOD = Create(export_path="/x/one.txt", size=1, mtime=1)


def host_of(**hooks: Any) -> PluginHost:
    """A host with one plugin, ``mine``, of these hooks."""

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(
            title="Mine", description="Mine.", version="1", hook_api=HOOK_API, provides_filesystem=True
        )

    marked = {name: hookimpl(function) for name, function in hooks.items()}
    module = ModuleType("plugin_of_this_test")
    vars(module).update(marked, mosaicfs_manifest=mosaicfs_manifest)
    sys.modules[module.__name__] = module
    host = PluginHost.discover(entry_points=[EntryPoint(name="mine", value="plugin_of_this_test", group="mosaicfs")])
    assert host.plugins["mine"].status == "ok", host.plugins["mine"].traceback
    return host


def crawl(host: PluginHost, plugin: str = "mine", stall: float | None = 5.0) -> Any:
    return host.iterate(plugin, "mosaicfs_crawl", stall_timeout=stall, context=None, request=REQUEST)


async def collect(items: Any, into: list[Any]) -> None:
    async for item in items:
        into.append(item)  # noqa: PERF401 - what came before an error is kept


async def test_only_the_arguments_that_the_implementation_names_are_passed() -> None:
    async def bare() -> AsyncIterator[Create]:
        yield GOOD

    async def with_request(request: CrawlRequest) -> AsyncIterator[Create]:
        assert request is REQUEST
        yield GOOD

    for function in (bare, with_request):
        assert [item async for item in crawl(host_of(mosaicfs_crawl=function))] == [GOOD]


async def test_what_a_crawl_yielded_before_it_raised_stands_and_the_error_names_it() -> None:
    host = PluginHost.discover(entry_points=faulty("raises"))
    seen: list[Any] = []
    with pytest.raises(PluginError, match="plugin raises: mosaicfs_crawl failed: RuntimeError: boom") as caught:
        await collect(crawl(host, "raises"), seen)
    assert len(seen) == 1
    assert (caught.value.plugin, caught.value.hook) == ("raises", "mosaicfs_crawl")
    assert isinstance(caught.value.__cause__, RuntimeError)
    (failure,) = host.failures
    assert "RuntimeError: boom" in failure.traceback


async def test_a_stalled_crawl_ends_and_its_generator_is_closed() -> None:
    closed = asyncio.Event()

    async def stalls() -> AsyncIterator[Create]:
        try:
            yield GOOD
            await asyncio.Event().wait()
        finally:
            closed.set()

    with pytest.raises(PluginError, match=r"yielded nothing for 0\.05 s") as caught:
        async for _ in crawl(host_of(mosaicfs_crawl=stalls), stall=0.05):
            pass
    assert caught.value.details["timed_out"] is True
    assert closed.is_set()


async def test_time_that_the_consumer_takes_is_no_stall() -> None:
    async def quick() -> AsyncIterator[Create]:
        for _ in range(3):
            yield GOOD

    loop = asyncio.get_running_loop()
    count = 0
    async for _ in crawl(host_of(mosaicfs_crawl=quick), stall=0.02):
        reached = loop.create_future()
        loop.call_later(0.05, reached.set_result, None)
        await reached
        count += 1
    assert count == 3


async def test_the_generator_runs_on_only_when_the_next_item_is_asked_for() -> None:
    progress: list[int] = []

    async def counts() -> AsyncIterator[Create]:
        for number in range(3):
            progress.append(number)
            yield GOOD

    async with aclosing(crawl(host_of(mosaicfs_crawl=counts))) as items:
        await anext(items)
        for _ in range(5):
            await asyncio.sleep(0)
        assert progress == [0]


@pytest.mark.parametrize("way", ["break", "cancel"])
async def test_leaving_early_closes_the_generator_before_the_caller_goes_on(way: str) -> None:
    closed = asyncio.Event()
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[Create]:
        try:
            yield GOOD
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.set()

    host = host_of(mosaicfs_crawl=endless)

    async def consume() -> None:
        async with aclosing(crawl(host)) as items:
            async for _ in items:
                if way == "break":
                    break

    task = asyncio.create_task(consume())
    if way == "cancel":
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await task
    assert closed.is_set()
    assert host.failures == ()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_hook_that_exits_or_cancels_itself_is_an_error_and_no_more() -> None:
    async def exits(context: Any, emit: Any) -> None:
        raise SystemExit("bye")

    async def cancels(context: Any, emit: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(PluginError, match="SystemExit: bye"):
        await host_of(mosaicfs_watch=exits).call("mine", "mosaicfs_watch", timeout=5, context=None, emit=None)
    with pytest.raises(PluginError, match="cancelled itself"):
        await host_of(mosaicfs_watch=cancels).call("mine", "mosaicfs_watch", timeout=5, context=None, emit=None)


async def test_a_crawl_that_cancels_itself_is_an_error() -> None:
    async def cancels() -> AsyncIterator[Create]:
        yield GOOD
        raise asyncio.CancelledError

    with pytest.raises(PluginError, match="cancelled itself"):
        async for _ in crawl(host_of(mosaicfs_crawl=cancels)):
            pass


async def test_a_hook_over_its_time_limit_is_ended_even_when_it_resists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "GRACE_S", 0.05)
    host = PluginHost.discover(entry_points=faulty("hangs"))
    with pytest.raises(PluginError, match=r"did not finish within 0\.05 s"):
        await host.call("hangs", "mosaicfs_watch", timeout=0.05, context=None, emit=None)
    (left,) = asyncio.all_tasks() - {asyncio.current_task()}
    assert left.get_name() == "hangs.mosaicfs_watch"
    left.cancel()
    await asyncio.wait({left})


async def test_cancelling_the_caller_cancels_the_hook_and_is_raised_again() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def waits(context: Any, emit: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    host = host_of(mosaicfs_watch=waits)
    task = asyncio.create_task(host.call("mine", "mosaicfs_watch", timeout=None, context=None, emit=None))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert host.failures == ()


async def test_nonsense_from_a_crawl_or_watch_is_refused() -> None:
    host = PluginHost.discover(entry_points=faulty("lies", "escapes"))
    with pytest.raises(PluginError, match="plugin lies: mosaicfs_crawl yielded dict, not a FileOperation"):
        async for _ in crawl(host, "lies"):
            pass
    with pytest.raises(PluginError, match=r"'/faults/\.\./etc/passwd', not an absolute, normalized path"):
        async for _ in crawl(host, "escapes"):
            pass
    received: list[Any] = []

    async def emit(operations: Any) -> None:
        received.extend(operations)

    with pytest.raises(PluginError, match="plugin lies: mosaicfs_watch emitted str, not a FileOperation"):
        await host.call("lies", "mosaicfs_watch", timeout=5, context=None, emit=emit)
    assert received == []


async def test_a_hook_that_returns_no_generator_or_coroutine_is_refused() -> None:
    with pytest.raises(PluginError, match="returned int, not an async generator"):
        async for _ in dispatch.iterate("mine", "mosaicfs_crawl", lambda: 7, {}, 5):
            pass
    with pytest.raises(PluginError, match="returned int, not a coroutine"):
        await dispatch.call_coroutine("mine", "mosaicfs_watch", lambda: 7, {}, 5)


def test_registration_errors_and_nonsense_are_recorded_and_left_out() -> None:
    host = PluginHost.discover(entry_points=faulty("raises", "lies", "step_raises"))
    assert [plugin.name for plugin, _ in host.registered("mosaicfs_step_ops")] == ["step_raises"]
    assert host.registered("mosaicfs_routes", app=Quart("t"), context=None) == []
    assert host.registered("mosaicfs_commands", cli=click.Group(), context=None) == []
    said = [failure.message for failure in host.failures]
    assert "plugin lies: mosaicfs_step_ops returned str, not a list of StepOp" in said
    assert "plugin lies: mosaicfs_routes returned a list that holds int where Blueprint belongs" in said
    assert "plugin raises: mosaicfs_commands failed: RuntimeError: boom" in said


@pytest.mark.parametrize("default", ["include", "exclude"])
@pytest.mark.parametrize("invert", [False, True])
def test_a_step_whose_op_raises_on_a_file_is_skipped_and_recorded_once(default: str, invert: bool) -> None:
    host = PluginHost.discover(entry_points=faulty("step_raises"))
    chain = compile_chain([{"op": "boom", "invert": invert}], default, host.step_ops())
    facts = FileFacts("node", "/x", "x", 1, 1)
    assert [chain.verdict(facts), chain.verdict(facts)] == [default == "include"] * 2
    assert [(said.matched, said.result) for said in chain.explain(facts)] == [(None, "continue"), (None, default)]
    assert [failure.message for failure in host.failures] == [
        "plugin step_raises: step op boom failed: RuntimeError: boom"
    ]


@pytest.mark.parametrize(
    ("op", "reason"), [("boom", "failed: RuntimeError: boom"), ("lie", "compiled to str, not a predicate")]
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_step_whose_op_cannot_be_compiled_is_skipped_warned_of_and_recorded(
    op: str, reason: str, strict: bool
) -> None:
    host = PluginHost.discover(entry_points=faulty("step_compile_raises"))
    chain = compile_chain([{"op": op}, {"op": "size", "min_bytes": 9}], "include", host.step_ops(), strict=strict)
    said = f"plugin step_compile_raises: step op {op} {reason}"
    assert [warning.message for warning in chain.warnings] == [f"steps[0].op: {said}; the step is skipped"]
    assert [chain.verdict(FileFacts("node", "/x", "x", size, 1)) for size in (1, 9)] == [False, True]
    assert [failure.message for failure in host.failures] == [said]


def test_a_step_op_says_what_is_wrong_with_its_fields() -> None:
    def compile_op(fields: Any) -> Any:
        if "words" not in fields:
            raise UserError("words: expected a list of texts", field="words")
        return lambda facts: len(facts["words"]) > 3

    op = StepOp(name="words", description="Counts words.", compile=compile_op)
    host = host_of(mosaicfs_step_ops=lambda: [op])
    with pytest.raises(UserError, match="words: expected a list"):
        host.step_ops()["words"].compile({})


@pytest.mark.parametrize(
    "operation",
    [
        Create(export_path="relative", size=1, mtime=1),
        Create(export_path="/a//b", size=1, mtime=1),
        Create(export_path="/a/", size=1, mtime=1),
        Create(export_path="/a\0b", size=1, mtime=1),
        Create(export_path="/a", size=-1, mtime=1),
        Create(export_path="/a", size=1, mtime=1.5),
        Directory(export_path="/a", files=[Entry("b/c", 1, 1)], directories=[]),
        Directory(export_path="/a", files=[Entry("..", 1, 1)], directories=[]),
        Directory(export_path="/a", files=[Entry("b", "1", 1)], directories=[]),
        Directory(export_path="/a", files=["b"], directories=[]),
        Directory(export_path="/a", files=7, directories=[]),
        Directory(export_path="/a", files=[], directories=["."]),
        Rename(export_path="/a", previous_export_path="/a"),
    ],
)
def test_impossible_operations_are_found(operation: Any) -> None:
    assert check_operation(operation) is not None
    assert check_yielded([GOOD, operation]) is not None


def test_good_operations_pass() -> None:
    listing = Directory(export_path="/", files=[Entry("a", 1, 1), ("b", 0, -5, 1, 2)], directories=["c"])
    assert check_yielded([GOOD, listing]) is None
    assert check_yielded(()) is None


def test_what_lies_on_disk_is_named_in_watched_folders_alone() -> None:
    own = Places(("/srv/a", "/srv/b"), ("/home",))
    listing = Directory(export_path="/srv/b/sub", files=(Entry("x", 1, 1),), directories=())
    said = [Create(export_path="/srv/a/x", size=1, mtime=1), listing, Complete(prefix="/srv/a")]
    # What left a folder that is not watched any more.
    left = [Delete(export_path="/old"), Directory(export_path="/srv", files=(), directories=("a", "b"))]
    assert check_yielded([*said, *left], own) is None
    for foreign in (
        Complete(prefix="/"),
        Complete(prefix="/srv"),
        Create(export_path="/srv/ab", size=1, mtime=1),
        Directory(export_path="/home", files=(Entry("x", 1, 1),), directories=()),
        Rename(export_path="/srv/a/x", previous_export_path="/home/x"),
    ):
        problem = check_yielded(foreign, own) or ""
        assert "does not lie beneath its watched folders (/srv/a, /srv/b)" in problem
        assert "it has none" in (check_yielded(foreign, Places()) or "")
    assert check_yielded(Complete(prefix="/srv"), Places(("/",))) is None
