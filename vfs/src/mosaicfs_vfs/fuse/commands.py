"""``mosaicfs mount`` and ``mosaicfs unmount``. Heavy imports happen when a command runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from mosaicfs_core.hooks import CommandContext

_NO_AGENT: Final = (
    "warning: no agent runs here: files of other machines cannot be read unless this machine's cache has them."
    " `mosaicfs up` brings one (`mosaicfs agent run` on a machine that joined another); the mount then goes on with it."
)


def register(cli: click.Group, context: CommandContext) -> None:
    """Add the two commands to ``cli``."""

    @cli.command("mount")
    @click.argument("directory", type=click.Path(path_type=Path))
    @click.option("--foreground", is_flag=True, help="Stay in this terminal; Ctrl-C unmounts.")
    @click.option("--allow-other", is_flag=True, help="Let other users of this machine read the mount.")
    @click.option("--xattr", is_flag=True, help="Show labels and annotations as extended attributes (slower ls -l).")
    @click.option("--safe-mode", is_flag=True, help="Leave out the filter steps of third-party plugins.")
    @click.option("--child", is_flag=True, hidden=True, help="With --foreground: report in JSON, then log to a file.")
    @click.option("--tied", is_flag=True, hidden=True, help="As --child, and end when standard input does.")
    def mount(directory: Path, foreground: bool, child: bool, tied: bool, **flags: bool) -> None:
        """Mount the tree, read-only, on an empty DIRECTORY (created when missing)."""
        if foreground:
            _mount_here(context, directory, child=child or tied, tied=tied, **flags)
            return
        from mosaicfs_vfs.fuse.spawn import spawn_mount

        mounted = spawn_mount(context.home_dir, directory, **flags, tied=False)
        if not mounted.agent:
            click.echo(_NO_AGENT, err=True)
        context.show({"mounted": str(mounted.directory), "pid": mounted.process.pid})

    @cli.command("unmount")
    @click.argument("directory", type=click.Path(path_type=Path))
    @click.option("--force", is_flag=True, help="Detach now, even while files of it are open.")
    def unmount(directory: Path, force: bool) -> None:
        """Unmount DIRECTORY."""
        from mosaicfs_vfs.fuse.unmounting import unmount_directory

        context.show({"unmounted": str(unmount_directory(directory, force=force))})


def _mount_here(
    context: CommandContext,
    directory: Path,
    *,
    child: bool,
    tied: bool,
    safe_mode: bool,
    allow_other: bool,
    xattr: bool,
) -> None:
    import asyncio
    import json

    from mosaicfs_core.home import Home
    from mosaicfs_vfs.fuse.process import run
    from mosaicfs_vfs.fuse.spawn import log_to_file

    home = Home(context.home_dir)

    def ready(point: Path, agent: bool) -> None:
        if child:
            # Read by whoever started this process, as one line.
            click.echo(json.dumps({"mounted": str(point), "agent": agent}))
            log_to_file(home)
        else:
            if not agent:
                click.echo(_NO_AGENT, err=True)
            context.say(f"Mounted on {point}; Ctrl-C unmounts")

    step_ops = partial(context.step_ops, first_party=safe_mode)
    tied_to = 0 if tied else None
    asyncio.run(run(home, directory, ready, step_ops, allow_other=allow_other, xattr=xattr, tied_to=tied_to))
