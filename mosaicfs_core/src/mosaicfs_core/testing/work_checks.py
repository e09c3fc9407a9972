"""The checks of work hooks behind ``FileEventContract`` and ``QueryContract``, over every way to run a plugin.

Each raises ``AssertionError`` that says what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from importlib_metadata import EntryPoint

from mosaicfs_core.documents import times
from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import FileEvent, FileRecord, PluginManifest, QueryRequest, RunningPlugin
from mosaicfs_core.testing.harness import Harness

HOSTILE: Final[tuple[str | dict[str, Any], ...]] = (
    "",
    " ",
    "a",
    '"',
    "((((",
    "a AND OR NOT (",
    "*",
    "~~~~^2:[ TO ]",
    "field:value -x +y",
    "\x00\x1f",
    "\N{OK HAND SIGN} \N{HEBREW LETTER ALEF}\u202e",
    "x" * 9_999,
    "word " * 1_999,
    {},
    {"text": ["nested", {"deep": None}]},
)
"""Questions that people and programs ask one day."""
ANSWER_S: Final = 30.0
"""Within this a hook must have answered or failed."""


@dataclass(frozen=True)
class WorkSource:
    """What a contract of work hooks needs to know: the plugin, its settings, and files (name to bytes) that it can make
    something of, with the types that the index would give them."""

    plugin: str | EntryPoint
    files: Mapping[str, bytes]
    settings: Mapping[str, Any] = field(default_factory=dict)
    mime_types: Mapping[str, str] = field(default_factory=dict)


async def make_files(harness: Harness, source: WorkSource, folder: Path) -> list[FileRecord]:
    """Write the source's files and index them."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    found = []
    for name, content in source.files.items():
        path = folder / name
        await asyncio.to_thread(path.write_bytes, content)
        found.append(await harness.index(path, source.mime_types.get(name)))
    return found


def event_of(harness: Harness, sequence: int, name: Any, file: FileRecord | None = None) -> FileEvent:
    """An event as the queue would give it."""
    there = file is not None and name != "file.deleted"
    return FileEvent(
        event=name,
        sequence=sequence,
        timestamp=times.now_text(),
        node_id=harness.core.node_id,
        file=file,
        local_path=file.export_path if file is not None and there else None,
        trigger="manual" if name.startswith("sync.") else None,
    )


async def take(running: RunningPlugin, event: FileEvent) -> Mapping[str, Any] | None:
    """The answer to an event, which must come in time and be an object or nothing."""
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = await running.file_event(event)
    except TimeoutError:
        raise AssertionError(f"{event.event} was not answered within {ANSWER_S:g} s") from None
    assert answer is None or isinstance(answer, Mapping), f"{event.event} was answered with {type(answer).__name__}"
    return answer


def manifest_of(harness: Harness) -> PluginManifest:
    """The manifest of the one plugin that is under test."""
    (instance,) = harness.instances.current.values()
    assert instance.plugin is not None
    assert instance.plugin.manifest is not None
    return instance.plugin.manifest


def of_file(harness: Harness) -> str:
    """The event by which the plugin is told of a file that is there."""
    told = [name for name in ("file.added", "file.modified") if name in manifest_of(harness).subscribed_events]
    assert told, "it has mosaicfs_file_event, and its manifest subscribes to no event of a file that is there"
    return told[0]


async def check_replay(harness: Harness, running: RunningPlugin, files: Sequence[FileRecord]) -> None:
    """answers events that come again as before"""
    name = of_file(harness)
    first = [await take(running, event_of(harness, n, name, file)) for n, file in enumerate(files, 1)]
    again = [await take(running, event_of(harness, n, name, file)) for n, file in enumerate(files, 1)]
    assert again == first, f"the same events again were answered otherwise: {again} after {first}"


async def check_gone(harness: Harness, running: RunningPlugin, files: Sequence[FileRecord]) -> None:
    """does not hang on a file that vanished, nor fail on its deletion, told twice"""
    file, name = files[0], of_file(harness)
    await asyncio.to_thread(Path(file.export_path).unlink)
    try:
        await take(running, event_of(harness, 100, name, file))
    except PluginError as error:
        if error.details.get("timed_out"):
            raise AssertionError("it hangs on a file that vanished") from error
    if "file.deleted" in manifest_of(harness).subscribed_events:
        for sequence in (101, 102):
            await take(running, event_of(harness, sequence, "file.deleted", file))


async def check_sync(harness: Harness, running: RunningPlugin, files: Sequence[FileRecord]) -> None:
    """takes a full sync around events, and one around none"""
    name, told = of_file(harness), manifest_of(harness).subscribed_events
    for number, around in enumerate((files, ())):
        events = [event_of(harness, 200 + 100 * number, "sync.started")]
        events += [event_of(harness, events[0].sequence + place, name, file) for place, file in enumerate(around, 1)]
        events.append(event_of(harness, events[0].sequence + 99, "sync.completed"))
        for event in events:
            if event.event in told:
                await take(running, event)


async def check_questions(running: RunningPlugin, capability: str, endpoint: str, limit: int = 3) -> None:
    """Every question is answered in time, within its limit."""
    for query in HOSTILE:
        request = QueryRequest(capability=capability, endpoint=endpoint, query=query, limit=limit, timeout_s=ANSWER_S)
        shown = repr(query)[:60]
        try:
            async with asyncio.timeout(ANSWER_S + 1):
                envelope = await running.query(request)
        except TimeoutError:
            raise AssertionError(f"{shown} was not answered within {ANSWER_S:g} s") from None
        except PluginError as error:
            raise AssertionError(f"{shown} made it fail: {error}") from error
        assert len(envelope.results) <= limit, (
            f"{shown}: {len(envelope.results)} results, at most {limit} were asked for"
        )


async def check_all_questions(harness: Harness, running: RunningPlugin, files: Sequence[FileRecord]) -> None:
    """answers odd questions in time and within the limit"""
    for number, file in enumerate(files, 1):
        if "mosaicfs_file_event" in running.hooks:
            await take(running, event_of(harness, number, of_file(harness), file))
    endpoints = manifest_of(harness).queries
    assert endpoints, "its manifest declares no question"
    for endpoint in endpoints:
        await check_questions(running, endpoint.capability, endpoint.name)


EVENT_CHECKS: Final = (check_replay, check_gone, check_sync)
