"""What the host knows of each hook: its arguments and whether it is plain, a coroutine or an async generator.

Read from the specifications themselves, so that a hook added there is dispatched rightly at once.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mosaicfs_core.hooks import specs

PREFIX: Final = "mosaicfs_"


class HookKind(enum.Enum):
    """How a hook is written. The value completes "must be …"."""

    PLAIN = "a plain function (def)"
    COROUTINE = "a coroutine function (async def)"
    GENERATOR = "an async generator (async def with yield)"


@dataclass(frozen=True)
class Hook:
    """One specification: ``arguments`` are the names that an implementation may ask for."""

    name: str
    kind: HookKind
    arguments: tuple[str, ...]
    doc: str


def kind_of(function: Callable[..., Any]) -> HookKind | None:
    """How an implementation is written; None for a plain generator, which no hook is."""
    if inspect.isasyncgenfunction(function):
        return HookKind.GENERATOR
    if inspect.iscoroutinefunction(function):
        return HookKind.COROUTINE
    return None if inspect.isgeneratorfunction(function) else HookKind.PLAIN


def _read_specs() -> Mapping[str, Hook]:
    found: dict[str, Hook] = {}
    for name, function in vars(specs).items():
        if not (name.startswith(PREFIX) and inspect.isfunction(function)):
            continue
        signature = inspect.signature(function)
        returns = str(signature.return_annotation)
        kind = HookKind.PLAIN
        if returns.startswith("AsyncIterator["):
            kind = HookKind.GENERATOR
        elif returns.startswith("Awaitable["):
            kind = HookKind.COROUTINE
        found[name] = Hook(name, kind, tuple(signature.parameters), inspect.getdoc(function) or "")
    return found


HOOKS: Final[Mapping[str, Hook]] = _read_specs()
