"""The mount as a process of its own, kept up while ``mosaicfs up`` runs.

The core knows nothing of how a tree is mounted: it runs the command ``mount``, which a plugin brings.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Final

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.home import Home, default_home

logger = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_PROGRAM: Final = "from mosaicfs_core.cli.main import main; main()"


def default_mount(home: Home) -> Path:
    """Where the tree is mounted when nobody says: ``~/MosaicFS``, or ``mnt`` in a home that is not the usual one."""
    usual = Home(default_home({}))
    return Path.home() / "MosaicFS" if home.path == usual.path else home.path / "mnt"


class MountKeeper:
    """Starts the mount's process, starts it again when it dies, and ends it.

    The process holds our end of a pipe as its standard input: when we go, however we go, it unmounts and goes too.
    """

    def __init__(self, home: Home, directory: Path, *, safe_mode: bool = False) -> None:
        self.directory = directory
        self._flags = ["--foreground", "--tied", *(["--safe-mode"] if safe_mode else [])]
        self.problem: str | None = None
        self._home = home
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Mount, and keep the mount up from then on. Raises ``Unavailable`` with the mount's own reason."""
        await self._mount()
        self._keeper = asyncio.create_task(self._keep(), name="mount keeper")

    async def stop(self) -> None:
        """Unmount and wait for the process to end."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
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

    async def _mount(self) -> None:
        command = ["--json", "--home", str(self._home.path), "mount", str(self.directory), *self._flags]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PROGRAM,
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._process = process
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        except TimeoutError:
            process.kill()
            raise Unavailable(f"mounting on {self.directory} did not end within {START_SECONDS:g} s") from None
        if not line:
            raise Unavailable(await _reason(process))
        self.problem = None

    async def _keep(self) -> None:
        """Mount again, after a growing pause, whenever the mount's process dies; leave it be when it was unmounted."""
        pause = _FIRST_PAUSE
        while True:
            # Once mounted, the child writes to its log file alone: there is no pipe to drain.
            if self._process is not None and await self._process.wait() == 0:
                self.problem = f"it was unmounted; `mosaicfs mount {self.directory}` mounts it again"
                logger.info("the mount was unmounted", extra={"operation": "unmount"})
                return
            logger.warning("the mount ended; mounting again", extra={"operation": "mount"})
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                await self._mount()
            except Unavailable as error:
                self.problem = error.message
                logger.warning("mounting failed", extra={"operation": "mount", "error": error.message})
            else:
                pause = _FIRST_PAUSE


async def _reason(process: asyncio.subprocess.Process) -> str:
    """Why a mount process ended, in its own words."""
    assert process.stderr is not None
    text = (await process.stderr.read()).decode(errors="replace").strip()
    await process.wait()
    last = text.splitlines()[-1] if text else ""
    try:
        return str(json.loads(last)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return last.removeprefix("mosaicfs: ") or f"the mount process ended with {process.returncode}"
