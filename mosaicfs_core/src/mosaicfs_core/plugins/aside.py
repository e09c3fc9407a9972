"""Runs foreign code in a thread that can be left behind, for callers that cannot be: whoever lists a directory or
commits a write holds a lock or a transaction that others wait for.

Python offers no way to end a thread. One that does not come back is abandoned: its caller goes on without the answer,
and the same code is given nothing more in this process, so that it leaves one such thread at most. A loop in it is
interrupted; a thread that waits for something stays until that comes, and does not hold up the end of the process. What
no thread helps against is code that never lets go of the interpreter's lock, such as a regular expression of ``re``
that backtracks for ever: it stops the process.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Final

LOOK_S: Final = 2.5
"""How often a caller looks whether its work gets on. Work that two looks find where it was is left behind, so that
neither a machine that slept nor a process that was stopped counts as a hang."""


class LeftBehind(Exception):
    """The code did not return and was left behind: ``now``, or at an earlier call, of which was told then."""

    def __init__(self, *, now: bool) -> None:
        super().__init__(f"did not return for {2 * LOOK_S:g} s and is not asked again until a restart")
        self.now = now


class _Interrupted(BaseException):
    """Raised in a thread that was left behind: no ``except Exception`` of a loop catches it."""


class Task:
    """One piece of work: a function that yields whenever it gets on, and what came of it."""

    __slots__ = ("_done", "_steps", "error", "progress")

    def __init__(self, steps: Callable[[], Iterator[None]]) -> None:
        self._steps = steps
        self._done = threading.Lock()
        self._done.acquire()
        self.progress = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do the work, in whatever thread this is called."""
        try:
            for _ in self._steps():
                self.progress += 1
        except BaseException as error:  # noqa: BLE001 - it is raised again where the work was asked for
            self.error = error
        finally:
            self._done.release()

    def wait(self) -> bool:
        """Whether the work came to its end; False when it got stuck."""
        seen = -1
        while not self._done.acquire(timeout=LOOK_S):
            if self.progress == seen:
                return False
            seen = self.progress
        return True


class Aside:
    """A thread for the calls of one piece of foreign code, one after the other. It ends with this object."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._work: SimpleQueue[Task | None] = SimpleQueue()
        self._left = False

    def run(self, steps: Callable[[], Iterator[None]]) -> None:
        """Run the generator function's iterator to its end. Each ``yield`` says that the work gets on.

        Raises ``LeftBehind`` when it does not for two looks, and whatever the work raises. Callable from any thread.
        """
        with self._turn:
            if self._left:
                raise LeftBehind(now=False)
            thread = self._thread or self._start()
            task = Task(steps)
            self._work.put(task)
            if not task.wait():
                self._left = True
                self._leave(thread)
                raise LeftBehind(now=True)
        if task.error is not None:
            raise task.error

    def _start(self) -> threading.Thread:
        self._thread = threading.Thread(target=_serve, args=(self._work,), name=self._name, daemon=True)
        weakref.finalize(self, self._work.put, None)
        self._thread.start()
        return self._thread

    def _leave(self, thread: threading.Thread) -> None:
        self._work.put(None)  # should it come back, it is to end
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Interrupted))


def _serve(work: SimpleQueue[Task | None]) -> None:
    try:
        while (task := work.get()) is not None:
            task.run()
            del task  # and with it what the work holds, before this waits again
    except _Interrupted:
        return  # it came back just when it was left behind
