"""Full-text search for MosaicFS: each machine indexes the text of its own files and answers searches over it.

Only the manifest is made when the host imports this; everything heavy is imported when there is work to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mosaicfs_core.hooks import (
    DASHBOARD_WIDGET,
    EVENTS,
    HOOK_API,
    SEARCH,
    Endpoint,
    PluginManifest,
    hookimpl,
)
from mosaicfs_fulltext.settings import SCHEMA, WORKERS

if TYPE_CHECKING:
    from mosaicfs_core.hooks import FileEvent, HealthReport, PluginContext, QueryRequest, ResultEnvelope


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Off until somebody switches it on; runs in a process of its own."""
    return PluginManifest(
        title="Full-text search",
        description=(
            "Indexes the text of documents, mails, books, notes and source code on each machine, and answers searches "
            "over it with the places where the words were found."
        ),
        version=version("mosaicfs-fulltext"),
        hook_api=HOOK_API,
        settings_schema=SCHEMA,
        subscribed_events=EVENTS,
        workers=WORKERS,
        reprocess_on_new_version=True,
        queries=(
            Endpoint(name="search", capability=SEARCH, description="Finds files by the text in them."),
            Endpoint(name="widget", capability=DASHBOARD_WIDGET, description="Size and state of the index."),
        ),
        isolate=True,
    )


@hookimpl
async def mosaicfs_file_event(context: PluginContext, event: FileEvent) -> Mapping[str, Any] | None:
    """Take a file into the index, or out of it. It returns once that would survive a kill."""
    from mosaicfs_fulltext.registry import using

    async with using(context) as service:
        await service.handle(event)
    return None


@hookimpl
async def mosaicfs_query(context: PluginContext, request: QueryRequest) -> ResultEnvelope:
    """Answer a search, or the figures for the dashboard."""
    from mosaicfs_fulltext.registry import using

    async with using(context) as service:
        return await (service.widget() if request.capability == DASHBOARD_WIDGET else service.search(request))


@hookimpl
async def mosaicfs_health(context: PluginContext) -> HealthReport:
    """How the index is."""
    from mosaicfs_fulltext.registry import health

    return await health(context)


@hookimpl
async def mosaicfs_run(context: PluginContext) -> None:
    """Hold the index open for as long as the instance is switched on, and read again what it lacks."""
    from mosaicfs_fulltext.registry import serve

    await serve(context)
