"""pins: keep the files of a virtual directory, or those that pass filter steps, on chosen nodes. There on the plane."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from mosaicfs_core.hooks import HOOK_API, CommandContext, PluginContext, PluginManifest, RoutesContext, hookimpl
from mosaicfs_plugins.pins.settings import SCHEMA

if TYPE_CHECKING:
    import click
    import quart


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Off until the first pin of a node makes its instance."""
    return PluginManifest(
        title="Pins",
        description="Keeps chosen files of other machines on this one, to be read without a network.",
        version=version("mosaicfs-plugins"),
        hook_api=HOOK_API,
        settings_schema=SCHEMA,
    )


@hookimpl
async def mosaicfs_run(context: PluginContext) -> None:
    """Keep what the pins of this instance want."""
    from mosaicfs_plugins.pins.keeping import keep

    await keep(context)


@hookimpl
def mosaicfs_routes(app: quart.Quart, context: RoutesContext) -> Sequence[quart.Blueprint]:
    """``/api/pins``."""
    from mosaicfs_plugins.pins.routes import make_blueprint

    return [make_blueprint(context)]


@hookimpl
def mosaicfs_commands(cli: click.Group, context: CommandContext) -> None:
    """``mosaicfs pins``."""
    from mosaicfs_plugins.pins.commands import register

    register(cli, context)
