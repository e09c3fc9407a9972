"""What the mount process does: ``run``. The command ``mosaicfs mount --foreground`` is how it is started."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mosaicfs_core import config, stuck
from mosaicfs_core.errors import PluginError, UserError
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.supervision import end_tasks, supervised
from mosaicfs_vfs.fuse import mountpoint

if TYPE_CHECKING:
    from mosaicfs_vfs.fuse.agent import AgentClient
    from mosaicfs_vfs.fuse.session import Wishes


class StepOps(Protocol):
    """Gives the plugins' step ops by name; ``failed`` is called with each failure, in whatever thread it happens."""

    def __call__(self, *, failed: Callable[[PluginError], None]) -> Mapping[str, StepOp]: ...


_log = logging.getLogger(__name__)
_EXTRA_HINT: Final = (
    "pyfuse3 is not installed. It is the extra `fuse`: pip install 'mosaicfs-vfs[fuse]' "
    "(Debian and Ubuntu first: sudo apt install fuse3 libfuse3-dev pkg-config gcc python3-dev)"
)


async def run(
    home: Home,
    directory: Path,
    ready: Callable[[Path, bool], None],
    step_ops: StepOps,
    *,
    allow_other: bool = False,
    xattr: bool = False,
    tied_to: int | None = None,
) -> None:
    """Mount the tree of a home and serve it until unmounted or stopped, or until the descriptor ``tied_to`` ends.

    ``ready`` is told where it is mounted, and whether an agent answers. ``step_ops`` gives the ones that plugins add;
    the agent is told of their failures, since nobody looks at this process.
    Raises ``UserError`` with the way out when the mount cannot be made.
    """
    check_requirements()
    from mosaicfs_vfs.fuse.agent import AgentClient
    from mosaicfs_vfs.fuse.policy import ReadPolicy
    from mosaicfs_vfs.fuse.replica import require_replica
    from mosaicfs_vfs.fuse.session import Wishes

    require_replica(home)
    settings = config.load(home.config_file).mount
    policy = ReadPolicy(settings.refuse_programs, settings.remote_bytes_per_minute)
    point = mountpoint.vacant(directory)
    _prepare_process()
    stuck.watch(home.log_dir, "mount")
    if tied_to is not None:
        _tie(tied_to)
    agent = AgentClient(home.agent_socket, point)
    connecting = asyncio.create_task(supervised("connection to the agent", agent.run, {}))
    try:
        await agent.announced()
        mountpoint.make(point)
        await _serve(home, point, agent, ready, step_ops(failed=agent.failed), Wishes(policy, allow_other, xattr))
    finally:
        await end_tasks(connecting)


async def _serve(
    home: Home,
    point: Path,
    agent: AgentClient,
    ready: Callable[[Path, bool], None],
    step_ops: Mapping[str, StepOp],
    wishes: Wishes,
) -> None:
    from mosaicfs_vfs.fuse import session
    from mosaicfs_vfs.fuse.local_roots import LocalRoots
    from mosaicfs_vfs.fuse.opener import ReplicaOpener
    from mosaicfs_vfs.fuse.replica import ReplicaTree, local_tier
    from mosaicfs_vfs.fuse.source import Source
    from mosaicfs_vfs.fuse.space import Disks

    roots = LocalRoots(home)
    source = Source(lambda: ReplicaTree(home, roots, step_ops))
    try:
        await source.open()
        opener = ReplicaOpener(local_tier(home, roots), agent, home.cache_dir)
        disks = Disks(roots, os.fsencode(home.path))
        await session.serve(point, source, opener, agent, disks, lambda: ready(point, agent.connected), wishes)
    finally:
        await source.close()


def check_requirements() -> None:
    """Raise ``UserError`` that names what is missing and the command that installs it."""
    if not sys.platform.startswith("linux"):
        raise UserError("Mounting needs Linux with FUSE; the same tree is served by the API and `mosaicfs vfs ls`")
    mountpoint.require_fusermount()
    mountpoint.require_device()
    try:
        import pyfuse3  # noqa: F401 - whether it can be imported is the question
    except ImportError as error:
        raise UserError(f"{_EXTRA_HINT} ({error})") from error


def _tie(descriptor: int) -> None:
    """Stop as for SIGTERM once the descriptor (a pipe or socket) ends: whoever started this process is gone."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        loop.add_reader(descriptor, look)
    except PermissionError:
        raise UserError("--tied needs a pipe as standard input") from None


def _prepare_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Listings are hundreds of thousands of long-lived objects: full collections over them would stall requests.
    gc.set_threshold(50_000, 20, 1000)
