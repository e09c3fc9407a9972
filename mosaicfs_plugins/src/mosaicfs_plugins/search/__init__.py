"""search: find files by name, labels, annotations and facts, over the index of all nodes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from mosaicfs_core.hooks import HOOK_API, CommandContext, PluginManifest, RoutesContext, hookimpl

if TYPE_CHECKING:
    import click
    import quart


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """On by default; it has no settings."""
    return PluginManifest(
        title="Search",
        description="Finds files by name, labels, annotations, size, time and type.",
        version=version("mosaicfs-plugins"),
        hook_api=HOOK_API,
        default_enabled=True,
    )


@hookimpl
def mosaicfs_routes(app: quart.Quart, context: RoutesContext) -> Sequence[quart.Blueprint]:
    """``/api/search``."""
    from mosaicfs_plugins.search.routes import make_blueprint

    return [make_blueprint(context)]


@hookimpl
def mosaicfs_commands(cli: click.Group, context: CommandContext) -> None:
    """``mosaicfs search``."""
    from mosaicfs_plugins.search.commands import register

    register(cli, context)
