"""The least a plugin can do, as a package: each file is answered with a small annotation, each question with nothing.

What is measured with it is the host alone.
"""

from __future__ import annotations

from mosaicfs_core.hooks import (
    HOOK_API,
    Endpoint,
    FileEvent,
    PluginContext,
    PluginManifest,
    QueryRequest,
    ResultEnvelope,
    hookimpl,
)

CAPABILITY = "bench"


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Takes file events and questions."""
    return PluginManifest(
        title="Annotator",
        description="Annotates each file with its size.",
        version="1",
        hook_api=HOOK_API,
        subscribed_events=("file.added", "file.modified"),
        queries=(Endpoint(name="ask", capability=CAPABILITY),),
    )


@hookimpl
async def mosaicfs_file_event(context: PluginContext, event: FileEvent) -> dict[str, int]:
    """The file's size."""
    return {"size": event.file.size if event.file else 0}


@hookimpl
async def mosaicfs_query(context: PluginContext, request: QueryRequest) -> ResultEnvelope:
    """Nothing."""
    return ResultEnvelope()
