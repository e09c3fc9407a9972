"""Plugins' step ops as the host hands them out: whatever they raise names the plugin and is recorded.

What a failure means for a file is not decided here but where chains are evaluated: the step is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from mosaicfs_core.errors import PluginError, UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.plugins.containment import as_plugin_error

SLOW_CALL_S: Final = 0.1
"""A call that takes longer is slow: a listing makes one for each file."""
SLOW_TOTAL_S: Final = 5.0
"""So long a predicate may take in slow calls: a mount gives a listing 30 s."""


def attributed_op(plugin: str, op: StepOp, record: Callable[[PluginError], None]) -> StepOp:
    """The op, raising nothing but ``UserError`` (wrong fields, from ``compile`` alone) and ``PluginError``.

    ``record`` is given each failure of ``compile``, and the first one of each predicate.
    """
    where = f"step op {op.name}"

    def compile_step(fields: Mapping[str, Any]) -> Callable[[Any], bool]:
        try:
            matches = op.compile(fields)
            if not callable(matches):
                message = f"plugin {plugin}: {where} compiled to {type(matches).__name__}, not a predicate"
                raise PluginError(message, plugin, where)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge to foreign code
            failure = as_plugin_error(plugin, where, error)
            record(failure)
            raise failure from failure.__cause__
        return _attributed(plugin, where, matches, record)

    return StepOp(name=op.name, description=op.description, compile=compile_step, fields=op.fields)


class _Patience:
    """How much time one predicate has taken in calls that were too slow. It cannot be interrupted, but it need not be
    asked again: a listing asks it once for each file, and somebody waits for that."""

    def __init__(self) -> None:
        self._files = 0
        self._taken = 0.0

    @property
    def problem(self) -> str | None:
        """Why it is not to be asked any more."""
        if self._taken <= SLOW_TOTAL_S:
            return None
        return f"took {self._taken:.1f} s for {self._files} files and is not asked any more"

    def note(self, seconds: float) -> None:
        """A call took so long."""
        if seconds > SLOW_CALL_S:
            self._files += 1
            self._taken += seconds


def _attributed(
    plugin: str, where: str, matches: Callable[[Any], bool], record: Callable[[PluginError], None]
) -> Callable[[Any], bool]:
    recorded = False
    patience = _Patience()

    def predicate(facts: Any) -> bool:
        nonlocal recorded
        begun = time.monotonic()
        try:
            if patience.problem is not None:
                raise PluginError(f"plugin {plugin}: {where} {patience.problem}", plugin, where)
            answer = matches(facts)
            if not isinstance(answer, bool):
                kind = type(answer).__name__
                raise PluginError(f"plugin {plugin}: {where} answered {kind}, not True or False", plugin, where)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge to foreign code
            failure = as_plugin_error(plugin, where, error)
            if not recorded:
                recorded = True
                record(failure)
            raise failure from failure.__cause__
        finally:
            patience.note(time.monotonic() - begun)
        return answer

    return predicate
