"""One run of a program: JSON in, JSON out, in a process group of its own, with limits on time and on what it prints.

It blocks, for a worker thread: starting a process is quickest there, and the loop goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mosaicfs_plugins.external.lifeline import Groups

OUTPUT_LIMIT: Final = 4 << 20
"""Bytes of standard output that are taken; a program that prints more is killed."""
ERROR_TAIL: Final = 4096
"""Bytes of standard error that are kept, the last ones."""
_CHUNK: Final = 65536
_LOOK_S: Final = 1.0
_AFTERWARDS_S: Final = 0.2
"""How long is listened to what a program has left running once it has ended itself."""


class Outcome(NamedTuple):
    """How a run ended. ``problem`` says, completing "it …", what was wrong with it apart from its exit code."""

    code: int
    output: bytes
    errors: str
    problem: str | None


class Execution:
    """A run that can be ended from another thread."""

    def __init__(self, environment: Mapping[str, str], groups: Groups) -> None:
        self._environment, self._groups = environment, groups
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def kill(self) -> None:
        """End the program with all that it started. Callable from any thread, before, while and after it runs."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                _kill_group(self._process)

    def run(
        self,
        path: Path,
        directory: Path,
        given: bytes,
        timeout_s: float,
        take: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """Run the program at ``path`` in ``directory`` to its end. Raises ``OSError`` when it cannot be started.

        What it prints goes to ``take``, as it comes and however much it is, or else into the outcome. An error of
        ``take`` ends the run and is raised.
        """
        with self._lock:
            if self._ended:
                return Outcome(-signal.SIGKILL, b"", "", "was stopped")
            place = self._groups.take()
            try:
                process = self._process = self._started(path, directory)
            except BaseException:
                self._groups.leave(place)
                raise
            self._groups.enter(place, process.pid)
        with process:
            try:
                talk = _Talk(process, given, take)
                problem = talk.run(timeout_s)
            finally:
                # What it has started is to end with it, also when it ended well itself. Once it is waited for, its
                # number may be another's.
                with self._lock:
                    self._ended, self._process = True, None
                    _kill_group(process)
                    self._groups.leave(place)
            code = process.wait()
        return Outcome(code, bytes(talk.output), talk.errors.decode("utf-8", "replace").strip(), problem)

    def _started(self, path: Path, directory: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [os.fspath(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=self._environment,
            start_new_session=True,
        )


class _Talk:
    """What goes in and out of one process, without ever blocking on one of its streams."""

    def __init__(self, process: subprocess.Popen[bytes], given: bytes, take: Callable[[bytes], None] | None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._rest = process, memoryview(given)
        self.output, self.errors = bytearray(), bytearray()
        self._take = self.output.extend if take is None else take
        self._selector = selectors.DefaultSelector()
        for stream, event, act in (
            (process.stdin, selectors.EVENT_WRITE, self._write),
            (process.stdout, selectors.EVENT_READ, self._read_output),
            (process.stderr, selectors.EVENT_READ, self._read_errors),
        ):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, event, act)

    def run(self, timeout_s: float) -> str | None:
        """Until the program has closed what it prints to; completing "it …", which limit ended that before."""
        limit, ended = time.monotonic() + timeout_s, False
        reading = 2
        with self._selector:
            while reading:
                if not ended and _has_ended(self._process):
                    # Something that it started may keep the streams open, and go on for ever: what there was counts.
                    limit, ended = time.monotonic() + _AFTERWARDS_S, True
                left = limit - time.monotonic()
                if left <= 0 and not ended:
                    return f"did not finish within {timeout_s:g} s"
                ready = self._selector.select(max(left, 0) if ended else min(left, _LOOK_S))
                if ended and not ready:
                    return None
                for key, _ in ready:
                    if not key.data(key.fd):
                        self._selector.unregister(key.fileobj)
                        reading -= key.data != self._write
                if len(self.output) > OUTPUT_LIMIT:
                    return f"printed more than {OUTPUT_LIMIT:,} bytes"
                if ended and time.monotonic() >= limit:
                    return None  # after a look that took what the program itself had left
        return None

    def _write(self, descriptor: int) -> bool:
        """Write what fits; whether there is more to write."""
        try:
            self._rest = self._rest[os.write(descriptor, self._rest[:_CHUNK]) :]
        except BrokenPipeError:
            self._rest = self._rest[:0]  # it does not want to know
        if self._rest:
            return True
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return False

    def _read_output(self, descriptor: int) -> bool:
        part = os.read(descriptor, _CHUNK)
        self._take(part)
        return bool(part)

    def _read_errors(self, descriptor: int) -> bool:
        part = os.read(descriptor, _CHUNK)
        self.errors = (self.errors + part)[-ERROR_TAIL:]
        return bool(part)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a program has ended. It is not waited for, so that its number stays its own until its group is killed."""
    if sys.platform != "linux":
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # nobody may wait for children here: whoever started us wanted it so


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
