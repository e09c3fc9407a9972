"""What an instance is to work on, checked before it is stored: filter steps and a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.jobs import parse_budget
from mosaicfs_core.rules import check_steps


def check_work(changes: Mapping[str, Any], ops: Mapping[str, StepOp]) -> list[str]:
    """Sentences about steps that are odd. Raises ``UserError`` with the field for wrong steps or a wrong budget."""
    warnings = _checked("", changes.get("steps"), ops)
    if changes.get("budget") is not None:
        warnings += _checked("budget.", parse_budget(changes["budget"]).steps, ops)
    return warnings


def _checked(prefix: str, steps: Any, ops: Mapping[str, StepOp]) -> list[str]:
    if not steps:
        return []
    try:
        return [f"{prefix}steps[{one.index}]: {one.message}" for one in check_steps(steps, "include", ops)]
    except UserError as error:
        field = f"{prefix}{error.details.get('field', 'steps')}"
        raise UserError(f"{prefix}{error.message}", field=field) from None
