"""What the programs that run in front have in common: signals, a quiet terminal, the mount beside them."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mosaicfs_core.cli.mounting import MountKeeper
    from mosaicfs_core.cli.runtime import AgentRuntime
    from mosaicfs_core.plugins.host import PluginHost

NO_MOUNT: Final = "no plugin that mounts works here; `pip install 'mosaicfs-vfs[fuse]'` brings one"


def stop_on_signals() -> asyncio.Event:
    """An event that the first signal to end sets; a second one ends at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def begin_to_stop(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, begin_to_stop, number)
    return stop


def keep_the_terminal_quiet() -> None:
    """The terminal shows what a person must know; the log file has the rest."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(max(handler.level, logging.WARNING))


def can_mount(host: PluginHost) -> bool:
    """Whether an installed plugin brings the command ``mount``."""
    import click

    from mosaicfs_core.cli.frame_context import TerminalContext

    found = click.Group()
    host.registered("mosaicfs_commands", cli=found, context=TerminalContext())
    return "mount" in found.commands


@asynccontextmanager
async def mounted(
    runtime: AgentRuntime, directory: Path | None, stop: asyncio.Event, *, safe_mode: bool
) -> AsyncIterator[tuple[MountKeeper | None, str | None]]:
    """The mount while a block runs, or why there is none."""
    keeper, problem = await _start_mount(runtime, directory, stop, safe_mode=safe_mode)
    try:
        yield keeper, problem
    finally:
        if keeper is not None:
            await keeper.stop()


async def _start_mount(
    runtime: AgentRuntime, directory: Path | None, stop: asyncio.Event, *, safe_mode: bool
) -> tuple[MountKeeper | None, str | None]:
    from mosaicfs_core.cli.mounting import MountKeeper
    from mosaicfs_core.errors import Unavailable

    if directory is None or stop.is_set():
        return None, None
    if not can_mount(runtime.core.host):
        runtime.core.own.release(directory)
        return None, NO_MOUNT
    keeper = MountKeeper(runtime.core, directory, safe_mode=safe_mode)
    runtime.agent.subsystems["vfs_mount"] = keeper.subsystem
    try:
        await keeper.start()
    except Unavailable as error:
        runtime.core.own.release(directory)
        return None, error.message
    return keeper, None
