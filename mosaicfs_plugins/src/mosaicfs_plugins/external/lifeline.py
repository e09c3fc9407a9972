"""What ends running programs when MosaicFS is killed: nobody else would, nor apply their time limits any longer, and
their jobs would be done a second time beside them.

A small process (``survivors``), one for all programs, waits for the end of a pipe whose other end is ours alone. Which
programs run it reads in memory that is shared with it, so that a run costs two stores there: no message, and nobody
wakes up. What cannot stand there yet, a program that is just being started, and what has left its process group, it
knows by a mark in the environment.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import secrets
import sys
import tempfile
from contextlib import suppress
from errno import EAGAIN
from pathlib import Path
from typing import IO, Final

from mosaicfs_plugins.external import survivors

logger = logging.getLogger(__name__)

MARK: Final = "MOSAICFS_RUN"
"""The variable that is the mark."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 60.0
_GRACE_S: Final = 5.0
_PLACES: Final = 4096
_BYTES_EACH: Final = 4


class Groups:
    """The process groups of the programs that run, in shared memory. Callable from any thread."""

    def __init__(self) -> None:
        self.file = _memory()
        self.file.write(bytes(_PLACES * _BYTES_EACH))  # room that is there: nothing can be missing when it is used
        self._groups = memoryview(mmap.mmap(self.file.fileno(), _PLACES * _BYTES_EACH)).cast("i")
        self._free = list(range(_PLACES))

    def take(self) -> int:
        """A place for a program that is about to be started. Raises ``OSError`` when there is none."""
        try:
            return self._free.pop()
        except IndexError:
            raise OSError(EAGAIN, f"{_PLACES:,} programs are running") from None

    def enter(self, place: int, group: int) -> None:
        """The program runs."""
        self._groups[place] = group

    def leave(self, place: int) -> None:
        """It does not. To be said before its process is waited for, while no other can have its number."""
        self._groups[place] = 0
        self._free.append(place)

    def close(self) -> None:
        """Nobody else gets to see it any more. Whoever has a place may leave it all the same."""
        self.file.close()


class Lifeline:
    """Held while programs may run: by each instance, as long as it is started."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._held = 0
        self._keeping: _Keeping | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What every program must have in its environment."""
        return {MARK: self._mark}

    async def hold(self) -> Groups:
        """Where programs are entered that run from now on until ``release``."""
        keeping = self._keeping = self._keeping or _Keeping(f"{MARK}={self._mark}")
        self._held += 1
        try:
            await keeping.tried.wait()
        except BaseException:
            await self.release()
            raise
        return keeping.groups

    async def release(self) -> None:
        """Let go of it. The last one ends the process."""
        self._held -= 1
        keeping = self._keeping
        if self._held == 0 and keeping is not None:
            self._keeping = None
            await keeping.end()


class _Keeping:
    """Keeps a process of ``survivors`` there: another is started when it ends, which finds everything as it was."""

    def __init__(self, mark: str) -> None:
        self.groups = Groups()
        self.tried = asyncio.Event()
        self._mark = mark
        self._ending = asyncio.Event()
        self._reading, self._writing = os.pipe()
        self._task = asyncio.create_task(self._keep(), name="lifeline of programs")

    async def end(self) -> None:
        """End the process for good."""
        self._ending.set()
        os.write(self._writing, b".")
        os.close(self._writing)
        os.close(self._reading)
        try:
            await asyncio.wait({self._task}, timeout=_GRACE_S)
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self.groups.close()

    async def _keep(self) -> None:
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_S
        while not self._ending.is_set():
            begun = loop.time()
            reason = await self._once()
            if self._ending.is_set():
                return
            if loop.time() - begun > LONGEST_PAUSE_S:
                pause = FIRST_PAUSE_S
            logger.warning(
                "what ends programs when MosaicFS is killed %s, and is started again in %g s",
                reason,
                pause,
                extra={"operation": "executable"},
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _once(self) -> str:
        """One life of the process; how it ended, to come after its name."""
        program = Path(survivors.__file__)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", os.fspath(program), self._mark),
                stdin=self._reading,
                stdout=self.groups.file.fileno(),
                stderr=asyncio.subprocess.DEVNULL,
                cwd="/",
                # Where Python's own libraries are, for one that would not start without.
                env={name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be started ({error.strerror})"
        finally:
            self.tried.set()
        try:
            return f"has ended with {await process.wait()}"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _memory() -> IO[bytes]:
    """A file without a name, which costs no disk where the system can do that."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("mosaicfs programs"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
