"""One file from the event to the annotation."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mosaicfs_core.hooks import Unavailable
from mosaicfs_plugins.summarize.reading.reader import Reading, read_document
from mosaicfs_plugins.summarize.settings import Settings, read_settings
from mosaicfs_plugins.summarize.spending import Spending

if TYPE_CHECKING:
    from mosaicfs_core.hooks import FileEvent, FileRecord, PluginContext

LOCAL_MODEL: Final = "lexrank"
"""What stands in ``model`` where no language model was asked."""


async def summarize(context: PluginContext, event: FileEvent) -> Mapping[str, Any] | None:
    """The annotation of an event's file; None when it is left out.

    Raises ``UserError`` for settings that cannot be used, ``NotFound`` when the file is gone, and ``Unavailable`` when
    it cannot be read, or the model cannot be asked, at present.
    """
    file = event.file
    if file is None:
        return None
    settings = read_settings(context.config)
    if matches(file, settings.exclude):
        return None
    elsewhere = bool(settings.endpoint) and not matches(file, settings.keep_local)
    characters = settings.max_prompt_characters if elsewhere else 0
    async with _on_disk(context, event, settings.max_file_bytes) as path:
        if path is None:
            found = Reading(problem=f"is larger than {settings.max_file_mb:,} MB")
        else:
            found = await read_document(path, file.mime_type or "text/plain", settings, characters)
    if elsewhere and found.text.strip() and await _may_ask(context, settings):
        from mosaicfs_plugins.summarize.model import ask

        answer = await ask(settings, found)
        return _annotation(file, found, answer.summary, answer.model)
    return _annotation(file, found, found.summary, LOCAL_MODEL)


async def _may_ask(context: PluginContext, settings: Settings) -> bool:
    spending = Spending(context.state_dir)
    return await asyncio.to_thread(spending.take, settings.max_requests_per_day)


def matches(file: FileRecord, globs: Sequence[str]) -> bool:
    """Whether one of the globs means a file: its path where the glob has a slash, else its name."""
    return any(fnmatchcase(file.export_path if "/" in glob else file.name, glob) for glob in globs)


def _annotation(file: FileRecord, found: Reading, summary: str, model: str) -> dict[str, Any]:
    annotation = {
        "title": found.title or Path(file.name).stem,
        "summary": summary,
        "language": found.language,
        "keywords": list(found.keywords),
        "page_count": found.page_count,
        "model": model,
    }
    return annotation if found.problem is None else annotation | {"problem": f"It {found.problem}."}


@asynccontextmanager
async def _on_disk(context: PluginContext, event: FileEvent, most: int) -> AsyncIterator[Path | None]:
    """A path of the file's bytes: its own, or a copy while it is read; None when it is larger than may be."""
    assert event.file is not None
    if event.file.size > most:
        yield None
        return
    if event.local_path is not None:
        yield Path(event.local_path)
        return
    if event.file.node_id == event.node_id and (local := await context.local_path(event.file)) is not None:
        yield local
        return
    with tempfile.NamedTemporaryFile(dir=context.state_dir, prefix="reading-") as copy:
        size = 0
        async for part in context.open_file(event.file):
            size += copy.write(part)
            if size > most:
                raise Unavailable(f"{event.file.export_path} is larger than it was")
        copy.flush()
        yield Path(copy.name)
