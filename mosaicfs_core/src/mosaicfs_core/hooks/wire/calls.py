"""What a plugin in another process may ask of its context: the methods of ``PluginContext`` that do work, by name.

Their parameters and results cross as JSON by the types of the protocol itself, so both sides agree by construction.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks.context import PluginContext
from mosaicfs_core.hooks.health import Notice
from mosaicfs_core.hooks.operations import FileOperation

ANSWERED: Final = (
    "read_document",
    "find_documents",
    "write_documents",
    "find_files",
    "effective_labels",
    "local_path",
    "check_selection",
    "pin",
    "unpin",
    "pinned",
    "held",
    "report",
    "raise_notification",
    "resolve_notification",
    "capability",
)
"""Calls with one answer."""
STREAMED: Final = ("open_file", "follow_files")
"""Calls whose answer comes in parts."""
AHEAD: Final = 4
"""Parts of a stream that are sent before the plugin has said ``more``."""
EMIT: Final = "emit"
"""A watcher hands over operations (``request_id``, ``files``) and waits until they are indexed."""


class Call(NamedTuple):
    """One method: the types of its parameters by name, which of them may be left out, and the type of its result, of
    one part where it is streamed."""

    parameters: Mapping[str, Any]
    optional: frozenset[str]
    result: Any


def _read() -> Mapping[str, Call]:
    found = {}
    for name in (*ANSWERED, *STREAMED):
        function = getattr(PluginContext, name)
        hints = get_type_hints(function, localns={"Notice": Notice, "Path": Path, "FileOperation": FileOperation})
        result = hints.pop("return")
        if get_origin(result) is not None and issubclass(get_origin(result), AsyncIterator):
            result = get_args(result)[0]
        parameters = inspect.signature(function).parameters
        optional = frozenset(key for key in hints if parameters[key].default is not inspect.Parameter.empty)
        found[name] = Call(hints, optional, result)
    return found


CALLS: Final[Mapping[str, Call]] = _read()


def arguments(name: str, params: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """The arguments of a call that came. Raises ``UserError`` for a call or a parameter that is none."""
    call = CALLS.get(name)
    if call is None:
        raise UserError(f"call: expected one of {', '.join(CALLS)}, got {name!r}", field="call")
    unknown = params.keys() - call.parameters.keys()
    missing = call.parameters.keys() - params.keys() - call.optional
    if unknown or missing:
        wrong = f"has no parameter {min(unknown)}" if unknown else f"needs the parameter {min(missing)}"
        raise UserError(f"{name} {wrong}", field="params")
    return {key: decoded(raw, call.parameters[key], f"{name}: {key}") for key, raw in params.items()}


def decoded(raw: msgspec.Raw | bytes, kind: Any, what: str) -> Any:
    """JSON as a value of a type. Raises ``UserError`` that names ``what`` it was."""
    try:
        return msgspec.json.decode(raw, type=kind, dec_hook=_decode)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{what}: {error}") from None


def encoded(value: Any, what: str = "the answer") -> msgspec.Raw:
    """A value as JSON. Raises ``UserError`` that names ``what`` no JSON can be."""
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=_encode))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{what} is no JSON: {error}") from None


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        # What is not UTF-8 cannot be written as JSON: to another process such a file is one without a path here.
        raw = os.fsencode(value)
        return str(value) if raw.decode("utf-8", "replace").encode() == raw else None
    raise TypeError(f"{type(value).__name__} cannot cross to another process")


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} cannot come from another process")
