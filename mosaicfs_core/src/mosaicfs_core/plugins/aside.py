"""Runs foreign code in a thread that can be left behind, for callers that cannot be: whoever lists a directory or
commits a write holds a lock or a transaction that others wait for.

Python offers no way to end a thread. One that does not come back is abandoned: its callers go on without the answer,
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
"""How often a caller looks whether the thread gets on."""
_LOOKS: Final = 3
"""So many looks that find it where it was are a hang: counted, not timed, so that neither a machine that slept nor a
process that was stopped is one."""


class LeftBehind(Exception):
    """The code did not return and was left behind: ``now``, or at an earlier call, of which was told then."""

    def __init__(self, *, now: bool) -> None:
        super().__init__(f"did not return for {LOOK_S * (_LOOKS - 1):g} s and is not asked again until a restart")
        self.now = now


class Interrupted(BaseException):
    """Raised in a thread that was left behind: no ``except Exception`` of a loop catches it."""


class _Progress:
    """How many steps a thread has made, and whether it was left behind."""

    def __init__(self) -> None:
        self.steps = 0
        self.left = False


class _Task:
    """One piece of work: a function that yields whenever it gets on, and what came of it."""

    __slots__ = ("_steps", "done", "error")

    def __init__(self, steps: Callable[[], Iterator[None]]) -> None:
        self._steps = steps
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None

    def run(self, progress: _Progress) -> None:
        """Do the work, in whatever thread this is called."""
        try:
            for _ in self._steps():
                progress.steps += 1
        except BaseException as error:  # noqa: BLE001 - it is raised again where the work was asked for
            self.error = error
        finally:
            progress.steps += 1
            self.done.release()


class Aside:
    """A thread for the calls of one piece of foreign code, in the order in which they come. It ends with this
    object."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._work: SimpleQueue[_Task | None] = SimpleQueue()
        self._progress = _Progress()

    def run(self, steps: Callable[[], Iterator[None]]) -> None:
        """Run the generator function's iterator to its end. Each ``yield`` says that the work gets on; others that
        come meanwhile wait for its end.

        Raises ``LeftBehind`` when the thread does not get on, and whatever the work raises. Callable from any thread.
        """
        task = _Task(steps)
        with self._lock:
            if self._progress.left:
                raise LeftBehind(now=False)
            self._thread = self._thread or self._started()
            self._work.put(task)
        if not self._wait(task):
            raise LeftBehind(now=self._leave())
        if isinstance(task.error, Interrupted):
            raise LeftBehind(now=False)  # another caller gave the thread up just now
        if task.error is not None:
            raise task.error

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=_serve, args=(self._work, self._progress), name=self._name, daemon=True)
        thread.start()
        weakref.finalize(self, self._work.put, None)
        return thread

    def _wait(self, task: _Task) -> bool:
        """Whether the work came to its end; False when the thread is stuck, with this work or what was before it."""
        seen, looks = -1, 0
        while not task.done.acquire(timeout=LOOK_S):
            seen, looks = self._progress.steps, looks + 1 if seen == self._progress.steps else 1
            if looks == _LOOKS:
                return False
        return True

    def _leave(self) -> bool:
        """Give the thread up; whether this was the first to."""
        with self._lock:
            if self._progress.left or self._thread is None or self._thread.ident is None:
                return False
            self._progress.left = True
            thread = ctypes.c_ulong(self._thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Interrupted))
            return True


def _serve(work: SimpleQueue[_Task | None], progress: _Progress) -> None:
    try:
        while not progress.left and (task := work.get()) is not None:
            task.run(progress)
            del task  # and with it what the work holds, before this waits again
    except Interrupted:
        return  # it came back just when it was left behind
