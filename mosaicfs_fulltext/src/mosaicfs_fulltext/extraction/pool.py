"""Child processes that read documents, a bounded number of them, each killed when a document takes too long.

Plain blocking code for worker threads: ``Pool.read`` may be called from as many threads as there are processes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from mosaicfs_fulltext.extraction.child import write_frame
from mosaicfs_fulltext.extraction.messages import MOST_FRAME, Extracted, Wish

_MOST_WISHES: Final = 2_000
_MOST_RESIDENT_KB: Final = 400 * 1024
_IDLE_S: Final = 120.0
_FIRST_S: Final = 30.0
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Extracted)


class Gone(Exception):
    """The process ended, or was killed, while it read a document."""


class Closed(Exception):
    """The pool was closed."""


class Reader:
    """One process. Not for two threads at once."""

    def __init__(self, memory_mb: int) -> None:
        command = [sys.executable, "-m", "mosaicfs_fulltext.extraction.child", str(memory_mb), str(os.getpid())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._fresh = True
        self._read = 0
        self._resident_kb = 0
        self.used_at = time.monotonic()

    def ask(self, wish: Wish, seconds: float) -> Extracted:
        """Have a document read. Raises ``Gone`` when the process ended and ``TimeoutError`` when it took too long; it
        must be closed after either."""
        # The first answer waits for Python and the library to be loaded.
        deadline = time.monotonic() + seconds + (_FIRST_S if self._fresh else 0.0)
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, _encoder.encode(wish))  # type: ignore[arg-type]  # a pipe, by how it was started
        except OSError as error:
            raise Gone(str(error)) from error
        size = int.from_bytes(self._receive(4, deadline), "big")
        if size > MOST_FRAME:
            raise Gone("it answered more than it may")
        answer = _decoder.decode(self._receive(size, deadline))
        self._fresh, self._read, self.used_at = False, self._read + 1, time.monotonic()
        self._resident_kb = answer.resident_kb
        return answer

    @property
    def old(self) -> bool:
        """Whether a new process should take its place."""
        return self._read >= _MOST_WISHES or self._resident_kb > _MOST_RESIDENT_KB

    def kill(self) -> None:
        """Kill it, from any thread: whoever waits for its answer sees that it is gone, and closes it."""
        self._process.kill()

    def _receive(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while len(received) < size:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                # Past the buffer, which would hide bytes from the selector.
                part = os.read(descriptor, min(size - len(received), 1 << 20))
                if not part:
                    raise Gone("it ended")
                received += part
        return bytes(received)

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        with contextlib.suppress(OSError):
            self._process.communicate()


class Pool:
    """At most ``size`` processes, started when they are needed and ended when they have been idle."""

    def __init__(self, size: int, memory_mb: int, seconds: float) -> None:
        self._memory_mb, self._seconds = memory_mb, seconds
        self._places: queue.LifoQueue[Reader | None] = queue.LifoQueue()
        for _ in range(size):
            self._places.put(None)
        self._busy: set[Reader] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.killed = 0

    def read(self, wish: Wish) -> Extracted:
        """Have a document read, waiting for a process. Never raises for the document's sake; ``Closed`` after
        ``close``."""
        with self._place() as reader:
            try:
                return reader.ask(wish, self._seconds)
            except TimeoutError:
                self._end(reader)
                return Extracted(problem=f"reading it took longer than {self._seconds:g} s")
            except Gone:
                self._end(reader)
                return Extracted(problem="the program that read it broke down, or ran out of memory")

    def end_idle(self) -> None:
        """End the processes that have had nothing to do for a while."""
        for place in reversed(self._idle()):
            idle = place is not None and time.monotonic() - place.used_at > _IDLE_S
            if idle and place is not None:
                place.close()
            self._places.put(None if idle else place)

    def close(self) -> None:
        """Kill them all; whoever waits for one is told so at once."""
        with self._lock:
            self._closed = True
            for reader in self._busy:
                reader.kill()
        for place in self._idle():
            if place is not None:
                place.close()
            self._places.put(None)

    def _idle(self) -> list[Reader | None]:
        """Take every place that nobody has at present."""
        places: list[Reader | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                places.append(self._places.get_nowait())
        return places

    @contextlib.contextmanager
    def _place(self) -> Iterator[Reader]:
        place = self._places.get()
        try:
            with self._lock:
                if self._closed:
                    raise Closed
                place = place or Reader(self._memory_mb)
                self._busy.add(place)
            yield place
        finally:
            self._give_back(place)

    def _give_back(self, place: Reader | None) -> None:
        """Return a process to its place, unless it is gone or has grown old."""
        if place is not None:
            with self._lock:
                alive = place in self._busy
                self._busy.discard(place)
            if not alive:
                place = None
            elif self._closed or place.old:
                place.close()
                place = None
        self._places.put(place)

    def _end(self, reader: Reader) -> None:
        with self._lock:
            self._busy.discard(reader)
        reader.close()
        self.killed += 1
