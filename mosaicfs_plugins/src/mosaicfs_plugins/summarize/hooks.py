"""The hooks of ``summarize``. Only the manifest is made when the host imports this; everything heavy is imported when
there is work to do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl
from mosaicfs_plugins.summarize.formats import MIME_GLOBS
from mosaicfs_plugins.summarize.settings import SCHEMA

if TYPE_CHECKING:
    from mosaicfs_core.hooks import FileEvent, PluginContext


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Off until somebody switches it on. It reads documents in processes of their own, so it needs none itself."""
    return PluginManifest(
        title="Summaries",
        description=(
            "Writes a summary, the title, the language and keywords beside each document: on this machine, without a "
            "network, or with a language model of your choice."
        ),
        version=version("mosaicfs-plugins"),
        hook_api=HOOK_API,
        settings_schema=SCHEMA,
        subscribed_events=("file.added", "file.modified"),
        mime_globs=MIME_GLOBS,
        workers=2,
    )


@hookimpl
async def mosaicfs_file_event(context: PluginContext, event: FileEvent) -> Mapping[str, Any] | None:
    """Summarize a file that is new, has changed, or has another name."""
    from mosaicfs_plugins.summarize.work import summarize

    return await summarize(context, event)
