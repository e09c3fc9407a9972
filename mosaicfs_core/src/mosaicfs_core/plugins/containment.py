"""The edge to foreign code: whatever a plugin raises becomes a ``PluginError`` that names it.

Apart from ``dispatch``, because it needs no asyncio, whose import the command line's start need not wait for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mosaicfs_core.errors import MosaicError, PluginError, Unavailable

Arguments = Mapping[str, Any]


def call_plain(plugin: str, hook: str, function: Callable[..., Any], arguments: Arguments) -> Any:
    """Run a registration hook. Raises ``PluginError`` for whatever goes wrong; the cause is chained."""
    answer = start(plugin, hook, function, arguments)
    if inspect.iscoroutine(answer):
        answer.close()
        raise PluginError(f"plugin {plugin}: {hook} returned a coroutine", plugin, hook)
    return answer


def as_plugin_error(plugin: str, hook: str, error: BaseException) -> PluginError:
    """Whatever a hook raised as a ``PluginError`` that names it, the cause chained."""
    if isinstance(error, PluginError):
        return error
    text = " ".join(str(error).split())
    if not isinstance(error, MosaicError) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    details = {"unavailable": True} if isinstance(error, Unavailable) else {}
    wrapped = PluginError(f"plugin {plugin}: {hook} failed: {text}", plugin, hook, **details)
    wrapped.__cause__ = error
    return wrapped


def start(plugin: str, hook: str, function: Callable[..., Any], arguments: Arguments) -> Any:
    """Call a hook. Raises ``PluginError``."""
    try:
        return function(**arguments)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge to foreign code
        fail(plugin, hook, error)


def fail(plugin: str, hook: str, error: BaseException) -> NoReturn:
    """Raise what a hook raised as a ``PluginError``."""
    raise as_plugin_error(plugin, hook, error) from error
