"""What a plugin in another process answers, as far as it makes sense. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks.wire import calls
from mosaicfs_core.hooks.wire.messages import Part

ANNOTATION_LIMIT: Final = 1 << 20
"""Bytes of the largest annotation."""
_ANSWER: Final = re.compile(rb'\s*\{\s*"(ack|request_id)"\s*:\s*([0-9]{1,18})\b')


def answered_by(line: bytes) -> tuple[str, int | None]:
    """What a line that is no message as a whole is the answer to, by how it begins: ``ack`` or ``request_id``, and its
    number; None for a line that does not tell."""
    found = _ANSWER.match(line)
    return ("", None) if found is None else (found[1].decode(), int(found[2]))


def annotation_of(raw: Part) -> Mapping[str, Any] | None:
    """The object that an acknowledgement carries, or None. Raises ``UserError`` completing "answered with"."""
    if raw is msgspec.UNSET:
        return None
    if len(bytes(raw)) > ANNOTATION_LIMIT:
        raise UserError(f"an annotation of more than {ANNOTATION_LIMIT:,} bytes")
    value = calls.decoded(raw, Any, "an annotation that is no JSON")
    if value is not None and not isinstance(value, dict):
        raise UserError(f"an annotation that is {type(value).__name__}, not an object")
    return value or None
