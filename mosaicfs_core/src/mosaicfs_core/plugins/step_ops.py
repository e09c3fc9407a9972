"""Plugins' step ops as the host hands them out: whatever they raise names the plugin and is recorded.

What a failure means for a file is not decided here but where chains are evaluated: the step is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mosaicfs_core.errors import PluginError, UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.plugins.containment import as_plugin_error


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


def _attributed(
    plugin: str, where: str, matches: Callable[[Any], bool], record: Callable[[PluginError], None]
) -> Callable[[Any], bool]:
    recorded = False

    def predicate(facts: Any) -> bool:
        nonlocal recorded
        try:
            return bool(matches(facts))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge to foreign code
            failure = as_plugin_error(plugin, where, error)
            if not recorded:
                recorded = True
                record(failure)
            raise failure from failure.__cause__

    return predicate
