"""``mosaicfs mount`` and ``mosaicfs unmount``. Heavy imports happen when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mosaicfs_core.hooks import CommandContext


def register(cli: click.Group, context: CommandContext) -> None:
    """Add the two commands to ``cli``."""

    @cli.command("mount")
    @click.argument("directory", type=click.Path(path_type=Path))
    @click.option("--foreground", is_flag=True, help="Stay in this terminal; Ctrl-C unmounts.")
    @click.option("--allow-other", is_flag=True, help="Let other users of this machine read the mount.")
    @click.option("--xattr", is_flag=True, help="Show labels and annotations as extended attributes (slower ls -l).")
    @click.option("--tied", is_flag=True, hidden=True, help="With --foreground: end when standard input does.")
    def mount(directory: Path, foreground: bool, allow_other: bool, xattr: bool, tied: bool) -> None:
        """Mount the tree, read-only, on an empty DIRECTORY (created when missing)."""
        home = _home(context)
        if foreground:
            _mount_here(context, home, directory, allow_other=allow_other, xattr=xattr, tied=tied)
            return
        from mosaicfs_vfs.fuse.spawn import spawn_mount

        mounted = spawn_mount(home, directory, allow_other=allow_other, xattr=xattr, tied=False)
        context.show({"mounted": str(mounted.directory), "pid": mounted.process.pid})

    @cli.command("unmount")
    @click.argument("directory", type=click.Path(path_type=Path))
    @click.option("--force", is_flag=True, help="Detach now, even while files of it are open.")
    def unmount(directory: Path, force: bool) -> None:
        """Unmount DIRECTORY."""
        from mosaicfs_vfs.fuse.unmounting import unmount_directory

        context.show({"unmounted": str(unmount_directory(directory, force=force))})


def _home(context: CommandContext) -> Path:
    from mosaicfs_core.home import default_home

    home = getattr(context, "home", None)
    return Path(home.path) if home is not None else default_home()


def _mount_here(
    context: CommandContext, home: Path, directory: Path, *, allow_other: bool, xattr: bool, tied: bool
) -> None:
    import asyncio
    import json

    from mosaicfs_core import config, logs
    from mosaicfs_core.home import Home
    from mosaicfs_vfs.fuse.process import run
    from mosaicfs_vfs.fuse.spawn import open_log

    place = Home(home)

    def ready(point: Path) -> None:
        if tied:
            # Read by whoever started this process, as one line.
            click.echo(json.dumps({"mounted": str(point)}))
            logs.configure(config.load(place.config_file).logging, stream=open_log(place))
        else:
            context.say(f"Mounted on {point}; Ctrl-C unmounts")

    tied_to = 0 if tied else None
    asyncio.run(run(place, directory, ready, allow_other=allow_other, xattr=xattr, tied_to=tied_to))
