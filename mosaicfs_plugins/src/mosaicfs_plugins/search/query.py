"""The parameters of a search: from an address's query string to a ``FileQuery``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from mosaicfs_core.hooks import FileQuery, UserError, in_words

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_annotation = re.compile(r"annotation\[([^\[\]/]+/[^\[\]]+)\]").fullmatch
_INTEGER = re.compile(r"-?[0-9]{1,16}", re.ASCII).fullmatch

Size = Annotated[int, Meta(ge=0, lt=2**53, description="In bytes, inclusive.")]
Time = Annotated[str, Meta(max_length=40, description="ISO 8601; a date alone is its midnight, UTC. Inclusive.")]


class SearchParameters(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to find; all conditions hold together. Annotations are asked for with ``annotation[plugin/key]=value``."""

    q: (
        Annotated[str, Meta(max_length=1000, description="Part of a name, or a glob over the whole name; any case.")]
        | None
    ) = None
    label: Annotated[list[str], Meta(description="Only files that have all of these labels; repeat for several.")] = []
    node_id: Annotated[str, Meta(max_length=200, description="Only files of this node.")] | None = None
    mime_type: Annotated[str, Meta(max_length=200, description="A MIME type, or a glob such as image/*.")] | None = None
    min_size: Size | None = None
    max_size: Size | None = None
    modified_after: Time | None = None
    modified_before: Time | None = None
    limit: Annotated[int, Meta(ge=1, le=500, description="At most this many items.")] = 100
    offset: Annotated[int, Meta(ge=0, lt=2**31, description="Skip this many items.")] = 0
    cursor: Annotated[str, Meta(max_length=2000, description="Where the last answer ended.")] | None = None


_NUMBERS: Final = frozenset({"min_size", "max_size", "limit", "offset"})


def parse_time(text: str, field: str) -> int:
    """Microseconds of an ISO 8601 time; without an offset it is UTC. Raises ``UserError``."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise UserError(f"{field}: expected ISO 8601 such as 2026-02-16 or 2026-02-16T09:22:00Z", field=field) from None


def parse_query(arguments: Mapping[str, Sequence[str]]) -> FileQuery:
    """A query string, each name with all its values, as a ``FileQuery``. Raises ``UserError`` naming the parameter."""
    plain: dict[str, object] = {}
    annotations: dict[str, str] = {}
    labels: list[str] = []
    for name, values in arguments.items():
        if name in ("label", "label[]"):
            labels += values
            plain["label"] = labels
        elif len(values) != 1:
            raise UserError(f"{name}: expected it once", field=name)
        elif match := _annotation(name):
            annotations[match[1]] = values[0]
        elif name in _NUMBERS:
            if _INTEGER(values[0]) is None:
                raise UserError(f"{name}: expected a whole number, got {values[0][:40]!r}", field=name)
            plain[name] = int(values[0])
        else:
            plain[name] = values[0]
    return _file_query(_convert(plain), annotations)


def _convert(plain: Mapping[str, object]) -> SearchParameters:
    try:
        return msgspec.convert(plain, SearchParameters)
    except msgspec.ValidationError as error:
        field, problem = in_words(error, SearchParameters)
        if field not in SearchParameters.__struct_fields__:
            problem = "unknown parameter; annotations are asked for as annotation[plugin/key]=value"
        raise UserError(f"{field}: {problem}", field=field) from None


def _file_query(given: SearchParameters, annotations: Mapping[str, str]) -> FileQuery:
    after, before = given.modified_after, given.modified_before
    return FileQuery(
        text=given.q or None,
        node_id=given.node_id,
        mime_type=given.mime_type,
        labels=tuple(given.label),
        annotations=annotations,
        min_size=given.min_size,
        max_size=given.max_size,
        modified_after=None if after is None else parse_time(after, "modified_after"),
        modified_before=None if before is None else parse_time(before, "modified_before"),
        limit=given.limit,
        offset=given.offset,
        cursor=given.cursor,
    )
