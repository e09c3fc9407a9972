"""Opening the backend that the settings name, whatever state it is found in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mosaicfs_core.hooks import PluginContext, Unavailable
from mosaicfs_fulltext import marks
from mosaicfs_fulltext.backend import Backend
from mosaicfs_fulltext.settings import Settings


async def open_backend(context: PluginContext, settings: Settings) -> Backend:
    """The backend, with a note that it has to be filled when it lacks what the host counts as done.

    That is so after another backend was used, and when the embedded index is damaged, of another format, or gone: then
    it is made anew. Raises ``Unavailable`` when the backend cannot be had at present, which is so on a full disk.
    """
    try:
        return await _open(context, settings)
    except OSError as error:
        raise Unavailable(f"the index cannot be opened at present: {error}") from error


async def _open(context: PluginContext, settings: Settings) -> Backend:
    directory = context.state_dir
    used = marks.backend_used(directory)
    changed = used is not None and used != settings.place
    if changed:
        reason = "another index was used before"
        context.logger.info("the index is to be filled: %s", reason)
        await asyncio.to_thread(marks.want_refill, directory, reason)
    if settings.backend == "meilisearch":
        backend: Backend = await _open_server(context, settings, changed)
    else:
        backend = await _open_embedded(context, changed)
    async with _let_go_when_it_fails(backend):
        await asyncio.to_thread(marks.note_backend, directory, settings.place)
    return backend


@asynccontextmanager
async def _let_go_when_it_fails(backend: Backend) -> AsyncIterator[None]:
    """Close the backend when what is to be done before it is handed out fails, or is cancelled: nobody else has it."""
    try:
        yield
    except BaseException:
        await backend.close()
        raise


async def _open_server(context: PluginContext, settings: Settings, changed: bool) -> Backend:
    from mosaicfs_fulltext.meilisearch import Meilisearch

    backend = await Meilisearch.open(
        settings.meilisearch_url, settings.meilisearch_key, settings.meilisearch_index, context.node_id
    )
    if changed:
        async with _let_go_when_it_fails(backend):
            # What was deleted meanwhile was not told to it.
            await backend.forget_node()
            await asyncio.to_thread(_remove, context.state_dir)
    return backend


async def _open_embedded(context: PluginContext, changed: bool) -> Backend:
    from mosaicfs_fulltext.index.embedded import EmbeddedIndex
    from mosaicfs_fulltext.index.engine import Damaged

    directory = context.state_dir
    if changed:
        await asyncio.to_thread(_remove, directory)
    problem = None if changed else marks.damage_noted(directory) or marks.format_problem(directory)
    if problem is None:
        try:
            index = await EmbeddedIndex.open(directory)
        except Damaged as error:
            problem = str(error)
    if problem is not None:
        context.logger.warning("the index is made anew: %s", problem)
        await asyncio.to_thread(_begin_anew, directory, problem)
        index = await EmbeddedIndex.open(directory)
    async with _let_go_when_it_fails(index):
        await asyncio.to_thread(marks.note_format, directory)
    return index


def _begin_anew(directory: Path, problem: str) -> None:
    """Remove a bad index. Its journal stays: what stands there was acknowledged."""
    from mosaicfs_fulltext.index.engine import remove_index

    marks.want_refill(directory, problem)
    remove_index(directory / "index")
    marks.forget_damage(directory)


def _remove(directory: Path) -> None:
    """Remove an index that another one has taken the place of, with its journal."""
    from mosaicfs_fulltext.index.engine import remove_index

    remove_index(directory / "journal")
    remove_index(directory / "index")
    marks.forget_damage(directory)
