"""The mount as a process of its own, kept up while the program beside it (``up``, ``agent run``) runs.

The core knows nothing of how a tree is mounted: it runs the command ``mount``, which a plugin brings.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any, Final

from mosaicfs_core import children, stuck
from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.home import Home, default_home
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.supervision import end_tasks, supervised

logger = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
SILENT_S: Final = 40.0
"""A mount that was not heard of for so long, which says every ten seconds that it is there, is told as stuck."""
LOST_S: Final = 120.0
"""One that stays so is ended by force and made anew: whoever looks at a file there hangs and cannot be ended."""
_LOOK_S: Final = 5.0
_TOLD_S: Final = 3600.0
"""So long the status tells of it."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


def default_mount(home: Home) -> Path:
    """Where the tree is mounted when nobody says: ``~/MosaicFS``, or ``mnt`` in a home that is not the usual one."""
    usual = Home(default_home({}))
    return Path.home() / "MosaicFS" if home.path == usual.path else home.path / "mnt"


class MountKeeper:
    """Starts the mount's process, starts it again when it dies, and ends it. ``subsystem`` tells how it is.

    The process holds our end of a pipe as its standard input: when we go, however we go, it unmounts and goes too.
    """

    def __init__(self, core: CoreServices, directory: Path, *, safe_mode: bool = False) -> None:
        self.directory = directory
        self._flags = ["--foreground", "--tied", *(["--safe-mode"] if safe_mode else [])]
        self._core = core
        self._problem: str | None = None
        self._detail = f"mounting on {directory}"
        self._silence = 0.0
        self._lost: float | None = None
        self._lost_detail = ""
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    def subsystem(self) -> dict[str, Any]:
        """The part ``vfs_mount`` of the agent's status. A mount that was unmounted on purpose is nothing to mend."""
        if self._problem is not None:
            return {"status": "degraded", "detail": self._problem}
        if self._lost is not None and time.monotonic() - self._lost < _TOLD_S:
            return {"status": "degraded", "detail": self._lost_detail}
        if self._silence > SILENT_S:
            detail = f"the mount on {self.directory} has not answered for {self._silence:.0f} s"
            return {"status": "degraded", "detail": detail + stuck.hint(self._core.home.log_dir, "mount")}
        # Whoever mounts there by hand is known to the agent as well.
        mounted = self.directory in self._core.mounts
        return {"status": "healthy", "detail": f"mounted on {self.directory}" if mounted else self._detail}

    async def start(self) -> None:
        """Mount, and keep the mount up from then on. Raises ``Unavailable`` with the mount's own reason."""
        await self._mount()
        keep = supervised("mount keeper", self._keep, self._core.failing)
        self._keeper = asyncio.create_task(keep, name="mount keeper")

    async def stop(self) -> None:
        """Unmount and wait for the process to end."""
        if self._keeper is not None:
            await end_tasks(self._keeper)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            logger.warning("the mount did not end in time and was killed", extra={"operation": "unmount"})
            process.kill()
            await process.wait()

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """The exit code of the mount's process, once it has ended by itself or was lost."""
        waiting = asyncio.create_task(process.wait())
        seen: float | None = None
        try:
            while not (await asyncio.wait({waiting}, timeout=_LOOK_S))[0]:
                heard = self._core.showing.last_heard(self.directory)
                # Looks are counted: a clock would count as well while both processes were stopped.
                self._silence = 0.0 if heard is None or heard != seen else self._silence + _LOOK_S
                seen = heard
                if self._silence > LOST_S:
                    process.kill()
                    await waiting
                    self._note_lost()
            return waiting.result()
        finally:
            self._silence = 0.0
            waiting.cancel()

    def _note_lost(self) -> None:
        text = f"the mount did not answer for {self._silence:.0f} s and was killed"
        aside = stuck.set_aside(self._core.home.log_dir, "mount")
        if aside is not None:
            text += f"; what it was at is in {aside}"
        self._lost, self._lost_detail = time.monotonic(), text
        logger.error("%s", text, extra={"operation": "mount"})

    async def _mount(self) -> None:
        """Start the process and wait until it has mounted. Raises ``Unavailable``, and notes why."""
        command = children.command(self._core.home.path, "mount", str(self.directory), *self._flags)
        try:
            self._process, _ = await children.start_here(f"mounting on {self.directory}", command, START_SECONDS)
        except OSError as error:
            self._problem = f"the mount cannot be started: {error.strerror or error}"
            raise Unavailable(self._problem) from error
        except MosaicError as error:
            self._problem = error.message
            raise Unavailable(error.message) from error
        self._problem, self._detail = None, f"mounted on {self.directory}"

    async def _keep(self) -> None:
        """Mount again, after a growing pause, whenever the mount's process dies; leave it be when it was unmounted."""
        pause = _FIRST_PAUSE
        while True:
            # Once mounted, the child writes to its log file alone: there is no pipe to drain.
            if self._process is not None and await self._ended(self._process) == 0:
                self._detail = f"it was unmounted; `mosaicfs mount {self.directory}` mounts it again"
                logger.info("the mount was unmounted", extra={"operation": "unmount"})
                return
            self._problem = self._problem or "the mount's process ended, and is started again"
            logger.warning("the mount ended; mounting again", extra={"operation": "mount"})
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                await self._mount()
            except Unavailable as error:
                logger.warning("mounting failed", extra={"operation": "mount", "error": error.message})
            else:
                pause = _FIRST_PAUSE
