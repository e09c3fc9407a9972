"""Plugins that misbehave, each in its own way: what the host must survive and the kit must catch.

``FAULTS`` maps a name to an entry point; give some of them to ``PluginHost.discover(entry_points=…)`` or
``Harness.start(plugins=…)``. The two that break while they are imported do so when their attribute is looked up.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, Final

from importlib_metadata import EntryPoint

from mosaicfs_core.hooks import (
    ENTRY_POINT_GROUP,
    HOOK_API,
    CrawlRequest,
    Create,
    Endpoint,
    FileEvent,
    FileOperation,
    Hit,
    PluginContext,
    PluginManifest,
    QueryRequest,
    ResultEnvelope,
    StepOp,
    hookimpl,
)

_leaked: set[asyncio.Task[Any]] = set()


def _manifest(**fields: Any) -> Callable[[], PluginManifest]:
    values = {"title": "Fault", "description": "Misbehaves.", "version": "1", "hook_api": HOOK_API, **fields}

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(**values)

    return mosaicfs_manifest


def _plugin(**hooks: Any) -> Any:
    """A plugin object from functions given by hook name. Its files are its own."""
    made = {name: hookimpl(function) if callable(function) else function for name, function in hooks.items()}
    return SimpleNamespace(**{"mosaicfs_manifest": _manifest(provides_filesystem=True), **made})


def _one(context: PluginContext | None, mtime: int = 1) -> Create:
    """The one file that a fault names, wherever no instance says its place."""
    place = context.prefix if context is not None else "/faults"
    return Create(export_path=f"{place}/one.txt", size=1, mtime=mtime)


def _boom(*_: Any) -> Any:
    raise RuntimeError("boom")


async def _crawl_raises(context: PluginContext, request: CrawlRequest) -> AsyncIterator[FileOperation]:
    yield _one(context)
    raise RuntimeError("boom")


async def _crawl_hangs(context: PluginContext, request: CrawlRequest) -> AsyncIterator[FileOperation]:
    yield _one(context)
    await asyncio.Event().wait()


async def _crawl_lies(context: PluginContext, request: CrawlRequest) -> AsyncIterator[Any]:
    yield {"export_path": "/faults/one.txt"}


async def _crawl_escapes(context: PluginContext, request: CrawlRequest) -> AsyncIterator[FileOperation]:
    yield Create(export_path="/faults/../etc/passwd", size=1, mtime=1)


async def _crawl_leaks(context: PluginContext, request: CrawlRequest) -> AsyncIterator[FileOperation]:
    _leaked.add(asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="leaked by a fault"))
    yield _one(context)


async def _crawl_restless(context: PluginContext, request: CrawlRequest) -> AsyncIterator[FileOperation]:
    """Names the same file with another time at each crawl."""
    marker = context.state_dir / "crawls"
    crawls = int(marker.read_text()) + 1 if marker.exists() else 1
    marker.write_text(str(crawls))
    yield _one(context, mtime=crawls)


async def _watch_raises(context: PluginContext, emit: Any) -> None:
    raise RuntimeError("boom")


async def _watch_hangs(context: PluginContext, emit: Any) -> None:
    """Hangs, and refuses to be cancelled the first time."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def _watch_lies(context: PluginContext, emit: Any) -> None:
    await emit(["not an operation"])


async def _not_a_generator(context: PluginContext, request: CrawlRequest) -> None:
    return None


def _worker(file_event: Any, query: Any) -> Any:
    """A plugin that works on files and answers questions, both badly."""
    manifest = _manifest(
        subscribed_events=("file.added", "file.deleted"), queries=(Endpoint(name="ask", capability="faults"),)
    )
    return SimpleNamespace(
        mosaicfs_manifest=manifest, mosaicfs_file_event=hookimpl(file_event), mosaicfs_query=hookimpl(query)
    )


async def _event_raises(context: PluginContext, event: FileEvent) -> None:
    raise RuntimeError("boom")


async def _query_raises(context: PluginContext, request: QueryRequest) -> ResultEnvelope:
    raise RuntimeError("boom")


async def _event_hangs(context: PluginContext, event: FileEvent) -> None:
    await asyncio.Event().wait()


async def _query_hangs(context: PluginContext, request: QueryRequest) -> ResultEnvelope:
    await asyncio.Event().wait()
    raise AssertionError


async def _event_lies(context: PluginContext, event: FileEvent) -> Any:
    return ["no object"]


async def _query_lies(context: PluginContext, request: QueryRequest) -> Any:
    return {"results": []}


async def _event_floods(context: PluginContext, event: FileEvent) -> Any:
    return {"text": "x" * (1 << 20)}


async def _query_floods(context: PluginContext, request: QueryRequest) -> ResultEnvelope:
    return ResultEnvelope(results=tuple(Hit(score=1.0) for _ in range(request.limit + 500)))


async def _event_differs(context: PluginContext, event: FileEvent) -> Any:
    """Answers the same event otherwise each time."""
    marker = context.state_dir / "events"
    events = int(marker.read_text()) + 1 if marker.exists() else 1
    marker.write_text(str(events))
    return {"events": events}


def _bad_op() -> list[StepOp]:
    return [StepOp(name="boom", description="Raises on every file.", compile=lambda fields: _boom)]


def _uncompilable_ops() -> list[StepOp]:
    def lies(fields: Any) -> Any:
        return "no predicate"

    return [
        StepOp(name="boom", description="Cannot be compiled.", compile=_boom),
        StepOp(name="lie", description="Compiles to nonsense.", compile=lies),
    ]


def _unmarked() -> list[StepOp]:
    return []


def _commands_raise(cli: Any, context: Any) -> None:
    raise RuntimeError("boom")


def _routes_raise(app: Any, context: Any) -> Any:
    raise RuntimeError("boom")


_PLUGINS: Final[dict[str, Any]] = {
    "bad_schema": SimpleNamespace(mosaicfs_manifest=_manifest(settings_schema={"type": "object", "properties": 7})),
    "default_on": SimpleNamespace(mosaicfs_manifest=_manifest(default_enabled=True)),
    "differs": _worker(_event_differs, _query_lies),
    "escapes": _plugin(mosaicfs_crawl=_crawl_escapes),
    "hangs": _plugin(mosaicfs_crawl=_crawl_hangs, mosaicfs_watch=_watch_hangs),
    "leaks": _plugin(mosaicfs_crawl=_crawl_leaks),
    "lies": _plugin(
        mosaicfs_crawl=_crawl_lies,
        mosaicfs_watch=_watch_lies,
        mosaicfs_step_ops=lambda: "no list",
        mosaicfs_routes=lambda app, context: [7],
    ),
    "manifest_lies": SimpleNamespace(mosaicfs_manifest=hookimpl(lambda: {"title": "a dict"})),
    "manifest_raises": SimpleNamespace(mosaicfs_manifest=hookimpl(_boom)),
    "needs_settings": SimpleNamespace(
        mosaicfs_manifest=_manifest(
            provides_filesystem=True,
            settings_schema={
                "type": "object",
                "required": ["folder"],
                "properties": {
                    "folder": {"type": "string", "title": "Folder"},
                    "token": {"type": "secret", "title": "Token", "minLength": 8},
                    "depth": {"type": "integer", "title": "Depth", "default": 3, "minimum": 0},
                },
            },
        ),
        mosaicfs_crawl=hookimpl(_crawl_restless),
    ),
    "no_manifest": SimpleNamespace(),
    "raises": _plugin(
        mosaicfs_crawl=_crawl_raises,
        mosaicfs_watch=_watch_raises,
        mosaicfs_step_ops=_boom,
        mosaicfs_routes=_routes_raise,
        mosaicfs_commands=_commands_raise,
    ),
    "restless": _plugin(mosaicfs_crawl=_crawl_restless),
    "step_compile_raises": _plugin(mosaicfs_step_ops=_uncompilable_ops),
    "step_raises": _plugin(mosaicfs_step_ops=_bad_op),
    "unknown_argument": _plugin(mosaicfs_step_ops=lambda context: []),
    "unknown_hook": _plugin(mosaicfs_crawll=_crawl_raises),
    "unmarked_hook": SimpleNamespace(mosaicfs_manifest=_manifest(), mosaicfs_step_ops=_unmarked),
    "nowhere": SimpleNamespace(mosaicfs_manifest=_manifest(), mosaicfs_crawl=hookimpl(_crawl_restless)),
    "work_floods": _worker(_event_floods, _query_floods),
    "work_hangs": _worker(_event_hangs, _query_hangs),
    "work_lies": _worker(_event_lies, _query_lies),
    "work_raises": _worker(_event_raises, _query_raises),
    "watches_nothing": SimpleNamespace(mosaicfs_manifest=_manifest(watches="folders")),
    "wrong_api": SimpleNamespace(mosaicfs_manifest=_manifest(hook_api=HOOK_API + 1)),
    "wrong_kind": _plugin(mosaicfs_crawl=_not_a_generator),
    "wrong_kind_async": _plugin(mosaicfs_step_ops=_watch_raises),
}


def __getattr__(name: str) -> Any:
    if name == "fails_to_import":
        raise RuntimeError("boom at import")
    if name == "exits_at_import":
        sys.exit("a plugin wants to end the process")
    if name in _PLUGINS:
        return _PLUGINS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


FAULTS: Final[dict[str, EntryPoint]] = {
    name: EntryPoint(name=name, value=f"{__name__}:{name}", group=ENTRY_POINT_GROUP)
    for name in sorted([*_PLUGINS, "fails_to_import", "exits_at_import"])
}


def faulty(*names: str) -> list[EntryPoint]:
    """The entry points of these faults."""
    return [FAULTS[name] for name in names]
