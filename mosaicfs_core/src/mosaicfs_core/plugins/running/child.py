"""A package in a child process of its own, started again whenever it ends.

When the child dies with one event in its hands, that event is to blame, and it counts as an attempt of it. With
several nobody can tell which one it was: none is charged, and until as many have been acknowledged the child gets them
one at a time, so that a file that kills it is found out and the others are processed all the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

from mosaicfs_core import children
from mosaicfs_core.errors import MosaicError, PluginError, Unavailable
from mosaicfs_core.hooks import (
    CrawlRequest,
    FileEvent,
    FileOperation,
    HealthReport,
    KindContext,
    QueryRequest,
    ResultEnvelope,
)
from mosaicfs_core.hooks.wire import WINDOW, BrokenWire, Channel, connect, hello_of
from mosaicfs_core.plugins.running.environment import environment_of_child

logger = logging.getLogger("mosaicfs.plugins")

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
START_S: Final = 30.0
"""How long a child may take until it listens, and whoever asks it something may wait for that."""
GRACE_S: Final = 5.0
"""How long it may take to end once it was asked to."""
_LAST_WORDS_S: Final = 1.0
_LOG_LINE: Final = 4096


class Child:
    """A ``RunningPlugin``. ``command`` is asked before each start for what starts the program that serves the package
    on the socket whose path is put at its end, and may raise ``PluginError``; ``workers`` is what the package's
    manifest says of events at once."""

    def __init__(
        self, command: Callable[[], Sequence[str]], hooks: frozenset[str], workers: int, context: KindContext
    ) -> None:
        self._command, self._hooks, self._workers, self._context = command, hooks, workers, context
        self._name = context.plugin.instance
        self._channel: Channel | None = None
        self._life: asyncio.Future[str]
        self._problem: str | None = None
        self._suspects = 0
        self._stopped = False
        self._tried = asyncio.Event()
        self._useful = False
        self._task: asyncio.Task[None] | None = None

    @property
    def hooks(self) -> frozenset[str]:
        """What the package implements."""
        return self._hooks

    @property
    def problem(self) -> str | None:
        """Why the child does not serve, None when it does or has only just been started."""
        return self._problem

    @property
    def window(self) -> int | None:
        """One while it is being found out what killed the child."""
        return 1 if self._suspects else WINDOW

    async def start(self) -> None:
        """Start the child, and again whenever it ends."""
        self._task = asyncio.create_task(self._live(), name=f"child of {self._name}")

    async def stop(self) -> None:
        """End the child with all that it started."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._tried.set()  # whoever waits for it to begin waits in vain

    def configure(self) -> None:
        """Tell the child."""
        if self._channel is not None:
            self._channel.configure(hello_of(self._context, self._workers))

    # What it is asked.

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Send the event. Raises ``PluginError`` also when the child died of it."""
        channel = await self._connected()
        life = self._life
        try:
            answer = await channel.file_event(event)
        except Unavailable:
            # With the reason, and once it is settled what comes next.
            reason = await asyncio.shield(life)
            # Not of a child that we ended, nor that hung: what it hung on was charged when its time was up.
            if channel.lost == 1 and not self._stopped and not channel.timed_out.is_set():
                hook = "mosaicfs_file_event"
                raise PluginError(f"plugin {self._name}: {hook} failed: {reason}", self._name, hook) from None
            raise Unavailable(f"plugin {self._name} is not running: {reason}") from None
        self._suspects = max(0, self._suspects - 1)
        self._useful = True
        return answer

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Ask the child."""
        return await (await self._connected()).query(request)

    async def health(self) -> HealthReport:
        """Ask the child."""
        return await (await self._connected()).health()

    async def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Have the child crawl."""
        async with aclosing((await self._connected()).crawl(request)) as parts:
            async for part in parts:
                yield part

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Have the child watch."""
        await (await self._connected()).watch(emit)

    async def run(self) -> None:
        """Have the child work."""
        await (await self._connected()).work()

    async def _connected(self) -> Channel:
        """The channel, waiting for the first attempt to start. Raises ``Unavailable``."""
        if self._channel is None and not self._tried.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(START_S):
                    await self._tried.wait()
        if self._channel is None:
            raise Unavailable(f"plugin {self._name} is not running: {self._problem or 'it is being started'}")
        return self._channel

    # Its life.

    async def _live(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            begun, self._useful = asyncio.get_running_loop().time(), False
            self._life = asyncio.get_running_loop().create_future()
            reason = "it was stopped"
            try:
                reason = await self._once(self._context.socket_dir.parent / "isolated" / f"{self._name}.sock")
            except Exception as error:
                # Nobody else would start it again.
                logger.exception("the child of %s", self._name, extra={"plugin": self._name, "operation": "isolated"})
                reason = f"{type(error).__name__}: {error}"
            finally:
                self._life.set_result(reason)
            # One that dies of some files alone goes on with the others at once.
            if self._useful or asyncio.get_running_loop().time() - begun > LONGEST_PAUSE_S:
                pause = FIRST_PAUSE_S
            self._say(reason)
            logger.error(
                "plugin %s: its process will be started again in %g s: %s",
                self._name,
                pause,
                reason,
                extra={"plugin": self._name, "operation": "isolated"},
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _once(self, path: Path) -> str:
        """One life of the child; why it ended."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            command = [*self._command(), os.fspath(path)]
            child, _ = await children.start_here(f"plugin {self._name}", command, START_S, environment_of_child())
        except (MosaicError, OSError) as error:
            return f"it did not start: {error}"
        logs = [asyncio.create_task(self._log(stream)) for stream in (child.stdout, child.stderr) if stream]
        try:
            return await self._speak(path) or f"its process ended with {await _ended(child)}"
        finally:
            self._channel = None
            await _end(child)
            # Something that it started may have left its group, and hold the streams for as long as it likes.
            _, left = await asyncio.wait(logs, timeout=_LAST_WORDS_S) if logs else ((), ())
            for task in left:
                task.cancel()
            await asyncio.gather(*logs, return_exceptions=True)
            child._transport.close()  # type: ignore[attr-defined]  # asyncio has no other way to close its pipes

    async def _speak(self, path: Path) -> str:
        """Connect and stay connected; why that ended, "" when the other side just went."""
        try:
            channel = Channel(await connect(path), self._context)
        except OSError as error:
            return f"it does not listen: {error.strerror}"
        channel.greet(hello_of(self._context, self._workers))
        self._channel = channel
        self._say(None)
        reading = asyncio.create_task(channel.run())
        late = asyncio.create_task(channel.timed_out.wait())
        try:
            await asyncio.wait({reading, late}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
                return ""
            return "it did not answer in time"
        except BrokenWire as error:
            return error.message
        finally:
            self._channel = None
            self._suspects = max(self._suspects, channel.lost if channel.lost > 1 else 0)
            for task in (reading, late):
                task.cancel()
            await asyncio.gather(reading, late, return_exceptions=True)

    def _say(self, problem: str | None) -> None:
        self._problem = problem
        self._tried.set()
        self._context.changed()

    async def _log(self, stream: asyncio.StreamReader) -> None:
        """What the child prints, line by line, long ones cut."""
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line beyond the reader's limit, which has been dropped
                continue
            if not line:
                return
            text = line[:_LOG_LINE].decode("utf-8", "replace").rstrip()
            logger.info("%s", text, extra={"plugin": self._name, "operation": "isolated"})


async def _ended(child: asyncio.subprocess.Process) -> str:
    """What a child that is going has ended with, in words."""
    try:
        async with asyncio.timeout(GRACE_S):
            code = await child.wait()
    except TimeoutError:
        return "its connection"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


async def _end(child: asyncio.subprocess.Process) -> None:
    """End a child and all in its process group: it is asked to by the end of its standard input, then killed."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(GRACE_S):
            await child.wait()
    except TimeoutError:
        logger.info("process %d does not end by itself and is killed", child.pid)
    finally:
        # Whatever it had started itself is in its group, and may outlive it.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
