"""The plugin ``vfs``: the virtual tree's routes and commands, and the mount."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl

if TYPE_CHECKING:
    import click
    import quart

    from mosaicfs_core.hooks import CommandContext, RoutesContext


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Describe the plugin."""
    return PluginManifest(
        title="Virtual filesystem",
        description="Directories made by rules over the files of all machines, and a read-only mount of them.",
        version=version("mosaicfs-vfs"),
        hook_api=HOOK_API,
    )


@hookimpl
def mosaicfs_routes(app: quart.Quart, context: RoutesContext) -> Sequence[quart.Blueprint]:
    """Serve the tree, and on the control plane keep its seeds in step with what is watched while the server runs."""
    from mosaicfs_core.content import services_of
    from mosaicfs_core.supervision import end_tasks, supervised
    from mosaicfs_vfs.directories import Directories
    from mosaicfs_vfs.routes import make_blueprint
    from mosaicfs_vfs.seeds import Seeder
    from mosaicfs_vfs.service import NamespaceService

    services = services_of(context)
    service = NamespaceService(services)
    directories = Directories(services.store, services.step_ops(), None if services.control else services.not_here)
    seeding: list[asyncio.Task[None]] = []

    async def start() -> None:
        follow = supervised("seeds of the tree", Seeder(services.store, directories).follow, services.failing)
        seeding.append(asyncio.create_task(follow, name="vfs-seeds"))

    async def end() -> None:
        await end_tasks(*seeding)
        seeding.clear()
        await service.close()

    if services.control:
        app.before_serving(start)
    app.after_serving(end)
    return [make_blueprint(service, directories)]


@hookimpl
def mosaicfs_commands(cli: click.Group, context: CommandContext) -> None:
    """Add ``vfs``, ``mount`` and ``unmount``."""
    from mosaicfs_vfs import commands
    from mosaicfs_vfs.fuse import commands as mount_commands

    commands.register(cli, context)
    mount_commands.register(cli, context)
