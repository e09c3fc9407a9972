"""Plugins' step ops as the host hands them out: whatever they raise names the plugin and is recorded, and one that
hangs is left behind.

What a failure means for a file is not decided here but where chains are evaluated: the step is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from mosaicfs_core.errors import PluginError, UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.plugins.aside import LOOK_S, Aside, Interrupted, LeftBehind
from mosaicfs_core.plugins.containment import as_plugin_error

PER_FILE_S: Final = 0.001
"""So long a predicate may take for a file, of which a listing asks for many."""
PATIENCE_S: Final = 5.0
"""So much longer it may take in all: a mount gives a listing 30 s."""
TURN_S: Final = 0.2
"""So long one caller has a predicate's thread before the next one has it: that one may hold the store's one
transaction."""

Record = Callable[[PluginError], None]


def attributed_op(plugin: str, op: StepOp, record: Record) -> StepOp:
    """The op, raising nothing but ``UserError`` (wrong fields, from ``compile`` alone) and ``PluginError``, and
    returning within seconds whatever the plugin's code does. Its predicates are ``AttributedPredicate``.

    ``record`` is given each failure of ``compile``, and the first one of each predicate; that the op was left behind,
    once.
    """
    where = f"step op {op.name}"
    aside = Aside(f"{where} of {plugin}")

    def compile_step(fields: Mapping[str, Any]) -> AttributedPredicate:
        made: list[Callable[[Any], bool]] = []
        raised: list[BaseException] = []

        def steps() -> Iterator[None]:
            try:
                made.append(op.compile(fields))
            except Interrupted:
                raise
            except BaseException as error:  # noqa: BLE001 - the edge to foreign code, in a thread of its own
                raised.append(error)
            yield

        try:
            aside.run(steps)
        except (LeftBehind, RuntimeError) as error:  # the system may have no more threads
            raised.append(error)
        if not raised and not callable(made[0]):
            message = f"plugin {plugin}: {where} compiled to {type(made[0]).__name__}, not a predicate"
            raised.append(PluginError(message, plugin, where))
        if not raised:
            return AttributedPredicate(plugin, where, made[0], aside, record)
        if isinstance(raised[0], UserError):
            raise raised[0]
        failure = _failure(plugin, where, raised[0])
        if not _told(raised[0]):
            record(failure)
        raise failure from failure.__cause__

    return StepOp(name=op.name, description=op.description, compile=compile_step, fields=op.fields)


def _failure(plugin: str, where: str, error: BaseException) -> PluginError:
    if isinstance(error, LeftBehind):
        return PluginError(f"plugin {plugin}: {where} {error}", plugin, where, lasting=True)
    return as_plugin_error(plugin, where, error)


def _told(error: BaseException) -> bool:
    """Whether the host knows of it from another predicate of the op."""
    return isinstance(error, LeftBehind) and not error.now


class _Patience:
    """How much time one predicate has taken: a listing asks it once for each file, and somebody waits for that."""

    def __init__(self) -> None:
        self._files = 0
        self._taken = 0.0

    @property
    def problem(self) -> str | None:
        """Why it is not to be asked any more."""
        if self._taken <= PATIENCE_S + PER_FILE_S * self._files:
            return None
        return f"took {self._taken:.1f} s for {self._files} files and is not asked any more"

    def note(self, seconds: float) -> None:
        """A call took so long."""
        self._files += 1
        self._taken += min(seconds, LOOK_S)  # a process that was stopped meanwhile took no time


class AttributedPredicate:
    """A plugin's predicate, asked for one file or for ``many``: a thread is asked each time, which costs some 15 µs
    whatever the number of files."""

    def __init__(self, plugin: str, where: str, matches: Callable[[Any], bool], aside: Aside, record: Record) -> None:
        self._plugin, self._where = plugin, where
        self._matches = matches
        self._aside = aside
        self._record = record
        self._recorded = False
        self._patience = _Patience()

    def __call__(self, facts: Any) -> bool:
        """Whether the file matches. Raises ``PluginError``."""
        answers, failure = self._ask([facts])
        if failure is not None:
            raise failure from failure.__cause__
        return bool(answers[0])

    def many(self, files: Sequence[Any]) -> list[bool | None]:
        """Whether each file matches; None where the plugin failed. Raises nothing."""
        return self._ask(files)[0]

    def _ask(self, files: Sequence[Any]) -> tuple[list[bool | None], PluginError | None]:
        """The answers, and the last failure among them."""
        answers: list[bool | None] = []
        failure: PluginError | None = None

        def steps() -> Iterator[None]:
            nonlocal failure
            until = time.monotonic() + TURN_S
            for place in range(len(answers), len(files)):
                try:
                    answers.append(self._answer(files[place]))
                except Interrupted:
                    raise
                except BaseException as error:  # noqa: BLE001 - the edge to foreign code, in a thread of its own
                    failure = self._note(error)
                    answers.append(None)
                yield
                if time.monotonic() > until:
                    return

        try:
            while len(answers) < len(files):
                self._aside.run(steps)
        except (LeftBehind, RuntimeError) as error:  # the system may have no more threads
            failure = self._note(error)
        told = list(answers)  # a thread that was left behind may still add to them
        return told + [None] * (len(files) - len(told)), failure

    def _answer(self, facts: Any) -> bool:
        if self._patience.problem is not None:
            raise self._error(self._patience.problem, lasting=True)
        begun = time.monotonic()
        try:
            answer = self._matches(facts)
        finally:
            self._patience.note(time.monotonic() - begun)
        if not isinstance(answer, bool):
            raise self._error(f"answered {type(answer).__name__}, not True or False")
        return answer

    def _error(self, what: str, *, lasting: bool = False) -> PluginError:
        message = f"plugin {self._plugin}: {self._where} {what}"
        return PluginError(message, self._plugin, self._where, lasting=lasting)

    def _note(self, error: BaseException) -> PluginError:
        failure = _failure(self._plugin, self._where, error)
        if not self._recorded and not _told(error):
            self._recorded = True
            self._record(failure)
        return failure
