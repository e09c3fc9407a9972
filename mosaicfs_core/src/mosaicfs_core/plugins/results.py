"""Whether a hook returned what its specification says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mosaicfs_core.hooks import HealthReport, Hub, PluginKind, ResultEnvelope, StepOp
from mosaicfs_core.hooks.wire import ANNOTATION_LIMIT


def check_result(hook: str, answer: Any) -> str | None:
    """What is wrong with a registration hook's answer, completing "returned …", or None."""
    if hook == "mosaicfs_step_ops":
        return _check_step_ops(answer)
    if hook == "mosaicfs_routes":
        from quart import Blueprint

        return _check_sequence(answer, Blueprint)
    if hook == "mosaicfs_plugin_kinds":
        return _check_sequence(answer, PluginKind)
    if hook == "mosaicfs_hub" and answer is not None and not isinstance(answer, Hub):
        return f"{type(answer).__name__}, which has not all that a Hub has"
    return None


def check_answer(hook: str, answer: Any) -> str | None:
    """What is wrong with a coroutine hook's answer, completing "returned …", or None."""
    if hook == "mosaicfs_file_event" and answer is not None:
        return _check_annotation(answer)
    if hook == "mosaicfs_query" and not isinstance(answer, ResultEnvelope):
        return f"{type(answer).__name__}, not a ResultEnvelope"
    return _check_report(answer) if hook == "mosaicfs_health" else None


def _check_annotation(answer: Any) -> str | None:
    if not isinstance(answer, Mapping):
        return f"{type(answer).__name__}, not an object"
    try:
        size = len(msgspec.json.encode(dict(answer)))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None  # whoever stores it says what in it is no JSON
    return f"an annotation of more than {ANNOTATION_LIMIT:,} bytes" if size > ANNOTATION_LIMIT else None


def _check_report(answer: Any) -> str | None:
    if not isinstance(answer, HealthReport):
        return f"{type(answer).__name__}, not a HealthReport"
    try:
        msgspec.json.decode(msgspec.json.encode(answer), type=HealthReport)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.DecodeError) as error:
        return f"a HealthReport that is wrong inside: {error}"
    return None


def _check_step_ops(answer: Any) -> str | None:
    problem = _check_sequence(answer, StepOp)
    if problem is not None:
        return problem
    for op in answer:
        if not (isinstance(op.name, str) and op.name and callable(op.compile)):
            return f"a step op {op.name!r} without a name or a compile function"
    return None


def _check_sequence(answer: Any, kind: type) -> str | None:
    if not isinstance(answer, list | tuple):
        return f"{type(answer).__name__}, not a list of {kind.__name__}"
    for item in answer:
        if not isinstance(item, kind):
            return f"a list that holds {type(item).__name__} where {kind.__name__} belongs"
    return None
