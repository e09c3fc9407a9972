"""localfs: the files of this machine's folders, by crawling and watching them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from mosaicfs_core.hooks import (
    HOOK_API,
    CommandContext,
    CrawlRequest,
    FileOperation,
    PluginContext,
    PluginManifest,
    hookimpl,
)

if TYPE_CHECKING:
    import click

SETTINGS: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "paths": {
            "type": "array",
            "title": "Folders",
            "description": "Folders to index, with everything beneath them. ~ is your home folder.",
            "items": {
                "type": "string",
                "minLength": 1,
                "pattern": r"^(?![\s\S]*[\u0000\ud800-\udfff])(/|~)",  # neither NUL nor lone surrogates
                "description": "An absolute path, or one below ~.",
            },
            "default": [],
        },
        "ignore": {
            "type": "array",
            "title": "Ignore",
            "description": "Patterns of names to leave out, written as in a .gitignore file at the top of each folder.",
            "items": {"type": "string", "minLength": 1},
            "default": [],
        },
        "watch": {
            "type": "boolean",
            "title": "Follow changes",
            "description": "Notice changes as they happen, not only when crawling.",
            "default": True,
        },
        "unwatched_poll_s": {
            "type": "integer",
            "title": "Poll interval",
            "description": "Seconds between looks at folders that the system cannot watch.",
            "minimum": 1,
            "default": 60,
        },
    },
}


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """On by default on every agent; without paths it does nothing."""
    return PluginManifest(
        title="Local files",
        description="Indexes folders of this machine and follows their changes.",
        version=version("mosaicfs-plugins"),
        hook_api=HOOK_API,
        default_enabled=True,
        reports_exclusions=True,
        settings_schema=SETTINGS,
        watches="paths",
    )


@hookimpl
async def mosaicfs_crawl(
    context: PluginContext, request: CrawlRequest
) -> AsyncIterator[FileOperation | Sequence[FileOperation]]:
    """List every directory under the configured paths, in chunks; with ``request.report`` what they leave out."""
    from mosaicfs_plugins.localfs.crawl import crawl

    async for chunk in crawl(context, request):
        yield chunk


@hookimpl
async def mosaicfs_watch(context: PluginContext, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
    """Follow changes under the configured paths until cancelled."""
    from mosaicfs_plugins.localfs.watch import Watcher

    await Watcher(context, emit).run()


@hookimpl
def mosaicfs_commands(cli: click.Group, context: CommandContext) -> None:
    """``mosaicfs folders``."""
    from mosaicfs_plugins.localfs.commands import register

    register(cli, context)
