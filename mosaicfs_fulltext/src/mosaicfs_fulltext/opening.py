"""Opening the backend that the settings name, whatever state it is found in."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mosaicfs_core.hooks import PluginContext
from mosaicfs_fulltext import marks
from mosaicfs_fulltext.backend import Backend
from mosaicfs_fulltext.settings import Settings


async def open_backend(context: PluginContext, settings: Settings) -> Backend:
    """The backend.

    An embedded index that is damaged, of another format, or gone is made anew, with a note that it has to be filled.
    Raises ``Unavailable`` when it cannot be had at present.
    """
    if settings.backend == "meilisearch":
        from mosaicfs_fulltext.meilisearch import Meilisearch

        return await Meilisearch.open(
            settings.meilisearch_url, settings.meilisearch_key, settings.meilisearch_index, context.node_id
        )
    return await _open_embedded(context)


async def _open_embedded(context: PluginContext) -> Backend:
    from mosaicfs_fulltext.index.embedded import EmbeddedIndex
    from mosaicfs_fulltext.index.engine import Damaged

    directory = context.state_dir
    problem = marks.format_problem(directory)
    if problem is None:
        try:
            index = await EmbeddedIndex.open(directory)
        except Damaged as error:
            problem = str(error)
    if problem is not None:
        context.logger.warning("the index is made anew: %s", problem)
        await asyncio.to_thread(_begin_anew, directory, problem)
        index = await EmbeddedIndex.open(directory)
    await asyncio.to_thread(marks.note_format, directory)
    return index


def _begin_anew(directory: Path, problem: str) -> None:
    from mosaicfs_fulltext.index.engine import remove_index

    marks.want_refill(directory, problem)
    remove_index(directory / "index")
