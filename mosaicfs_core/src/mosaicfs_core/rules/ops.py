"""The ops of the core: each turns a step's own fields into a predicate, once.

A predicate is called as ``predicate(facts, lookup, now)`` with ``now`` in microseconds and answers whether the op
holds, or None when it cannot say (a plugin's op that failed): such a step is skipped. Wrong fields raise ``UserError``
whose ``field`` detail names the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from mosaicfs_core.documents.patterns import END
from mosaicfs_core.documents.times import MICROS_PER_DAY
from mosaicfs_core.errors import UserError
from mosaicfs_core.rules.annotations import annotation_test
from mosaicfs_core.rules.facts import FactsLookup, FileFacts
from mosaicfs_core.rules.glob import compile_glob, name_matcher
from mosaicfs_core.rules.regex import compile_regex
from mosaicfs_core.rules.sql import Condition, mime_condition, node_condition, range_condition

Predicate: TypeAlias = Callable[[FileFacts, FactsLookup, int], "bool | None"]
Fields: TypeAlias = Mapping[str, Any]

LABELS: Final = "labels"
ANNOTATIONS: Final = "annotations"
TIME: Final = "time"

# Larger than every age (times are of the years 1 to 9999) and every size; keeps bounds within what SQLite takes.
_AGES_DAYS: Final = 4_000_000
_SIZES: Final = 2**63 - 1


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """A step's op, ready to run.

    ``needs`` names what it reads beyond the facts. ``age_offsets`` are the ages (microseconds) at which its answer may
    change: for a file of that ``mtime``, at the moment ``mtime + offset``. ``condition`` is the same question in SQL.
    ``many`` asks it for many files at once, where that is cheaper than one by one.
    """

    predicate: Predicate
    many: Callable[[Sequence[FileFacts]], Sequence[bool | None]] | None = None
    needs: frozenset[str] = frozenset()
    age_offsets: tuple[int, ...] = ()
    condition: Condition | None = None

    def ask(self, files: Sequence[FileFacts], lookup: FactsLookup, now: int) -> Sequence[bool | None]:
        """``predicate`` of each file."""
        if self.many is not None:
            return self.many(files)
        return [self.predicate(facts, lookup, now) for facts in files]


class CoreOp(msgspec.Struct, frozen=True, kw_only=True):
    """An op of the core. ``fields`` is a JSON Schema of the step's own fields."""

    name: str
    description: str
    compile: Callable[[Fields], Compiled]
    fields: Mapping[str, Any]


def expected(what: str, given: object) -> str:
    """What to say of a step's field that is not what it must be; None where it is missing."""
    return f"is missing: expected {what}" if given is None else f"expected {what}, got {given!r}"


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise UserError(expected("text", value), field=name)
    return value


def _texts(fields: Fields, name: str) -> list[str]:
    value = fields.get(name)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise UserError(expected("a list of at least one text", value), field=name)
    for text in value:
        if not isinstance(text, str) or not text:
            raise UserError(f"expected a list of texts, got {text!r} in it", field=name)
    return list(value)


def _number(fields: Fields, name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise UserError(f"expected a number of at least 0, got {value!r}", field=name)
    return value


def _bounds(fields: Fields, low: str, high: str) -> tuple[float | None, float | None]:
    least, most = _number(fields, low), _number(fields, high)
    if least is None and most is None:
        raise UserError(f"expected {low}, {high} or both", field=high)
    if least is not None and most is not None and least > most:
        raise UserError(f"expected at least {low} ({least:g}), got {most:g}", field=high)
    return least, most


def _glob(fields: Fields) -> Compiled:
    matches = compile_glob(_text(fields, "pattern")).predicate
    return Compiled(predicate=lambda facts, lookup, now: matches(facts.export_path))


def _search(fields: Fields, name: str, flags: str = "") -> Callable[[str], bool]:
    try:
        return compile_regex(_text(fields, name), flags)
    except UserError as error:
        field = "flags" if error.details.get("field") == "flags" else name
        raise UserError(error.message, field=field) from None


def _regex(fields: Fields) -> Compiled:
    flags = fields.get("flags", "")
    if not isinstance(flags, str):
        raise UserError(f"expected text, got {flags!r}", field="flags")
    found = _search(fields, "pattern", flags)
    return Compiled(predicate=lambda facts, lookup, now: found(facts.export_path))


def _age(fields: Fields) -> Compiled:
    least, most = _bounds(fields, "min_days", "max_days")
    youngest = None if least is None else round(min(least, _AGES_DAYS) * MICROS_PER_DAY)
    oldest = None if most is None else round(min(most, _AGES_DAYS) * MICROS_PER_DAY)

    def predicate(facts: FileFacts, lookup: FactsLookup, now: int) -> bool:
        age = now - facts.mtime
        return (oldest is None or age <= oldest) and (youngest is None or age >= youngest)

    offsets = ([] if oldest is None else [oldest + 1]) + ([] if youngest is None else [youngest])
    return Compiled(
        predicate=predicate,
        needs=frozenset({TIME}),
        age_offsets=tuple(offsets),
        condition=lambda now: range_condition(
            "mtime", None if oldest is None else now - oldest, None if youngest is None else now - youngest
        ),
    )


def _size(fields: Fields) -> Compiled:
    least, most = _bounds(fields, "min_bytes", "max_bytes")
    low = 0 if least is None else min(math.ceil(least), _SIZES)
    high = _SIZES if most is None else min(math.floor(most), _SIZES)
    return Compiled(
        predicate=lambda facts, lookup, now: low <= facts.size <= high,
        condition=lambda now: range_condition(
            "size", low if least is not None else None, high if most is not None else None
        ),
    )


def _mime(fields: Fields) -> Compiled:
    globs = _texts(fields, "globs")
    matchers = [name_matcher(glob) for glob in globs]
    # Few distinct types stand for all files, so each is decided once; the table is bounded against hostile input.
    known: dict[str | None, bool] = {None: False}

    def predicate(facts: FileFacts, lookup: FactsLookup, now: int) -> bool:
        mime_type = facts.mime_type
        answer = known.get(mime_type)
        if answer is None:
            answer = mime_type is not None and any(matches(mime_type) for matches in matchers)
            if len(known) < 4096:
                known[mime_type] = answer
        return answer

    return Compiled(predicate=predicate, condition=lambda now: mime_condition(globs))


def _node(fields: Fields) -> Compiled:
    node_ids = _texts(fields, "node_ids")
    wanted = frozenset(node_ids)
    return Compiled(
        predicate=lambda facts, lookup, now: facts.node_id in wanted, condition=lambda now: node_condition(node_ids)
    )


def _label(fields: Fields) -> Compiled:
    wanted = frozenset(_texts(fields, "labels"))
    return Compiled(predicate=lambda facts, lookup, now: wanted <= lookup.labels(facts), needs=frozenset({LABELS}))


def _annotation(fields: Fields) -> Compiled:
    plugin_name = _text(fields, "plugin_name")
    key = _text(fields, "key") if fields.get("key") is not None else None
    regex, value = fields.get("regex"), fields.get("value")
    if regex is not None and value is not None:
        raise UserError("expected either value or regex, got both", field="regex")
    if key is None and (regex is not None or value is not None):
        raise UserError("expected a dotted key beside value or regex", field="key")
    found = _search(fields, "regex") if regex is not None else None
    holds = None if key is None else annotation_test(key, value, found)

    def predicate(facts: FileFacts, lookup: FactsLookup, now: int) -> bool:
        data = lookup.annotation(facts, plugin_name)
        return data is not None and (holds is None or holds(data))

    return Compiled(predicate=predicate, needs=frozenset({ANNOTATIONS}))


def _fields(required: Sequence[str], **properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_TEXT: Final = {"type": "string", "minLength": 1}
_TEXTS: Final = {"type": "array", "items": _TEXT, "minItems": 1}
_NUMBER: Final = {"type": "number", "minimum": 0}

CORE_OPS: Final[Mapping[str, CoreOp]] = {
    op.name: op
    for op in (
        CoreOp(
            name="glob",
            description="The path matches a glob (*, **, ?, […], {a,b}); without a / the name does, at any depth.",
            compile=_glob,
            fields=_fields(["pattern"], pattern=_TEXT),
        ),
        CoreOp(
            name="regex",
            description="A regular expression (RE2 syntax; flags i, m, s) is found somewhere in the path.",
            compile=_regex,
            fields=_fields(["pattern"], pattern=_TEXT, flags={"type": "string", "pattern": "^[ims]*" + END}),
        ),
        CoreOp(
            name="age",
            description="The file was last changed at most max_days and at least min_days ago.",
            compile=_age,
            fields=_fields([], max_days=_NUMBER, min_days=_NUMBER),
        ),
        CoreOp(
            name="size",
            description="The file has at least min_bytes and at most max_bytes.",
            compile=_size,
            fields=_fields([], min_bytes=_NUMBER, max_bytes=_NUMBER),
        ),
        CoreOp(
            name="mime",
            description="The MIME type matches one of the globs; a file without one never does.",
            compile=_mime,
            fields=_fields(["globs"], globs=_TEXTS),
        ),
        CoreOp(
            name="node",
            description="The file is on one of the nodes.",
            compile=_node,
            fields=_fields(["node_ids"], node_ids=_TEXTS),
        ),
        CoreOp(
            name="label",
            description="All of the labels are among the file's effective ones.",
            compile=_label,
            fields=_fields(["labels"], labels=_TEXTS),
        ),
        CoreOp(
            name="annotation",
            description="A plugin's annotation of the file has the dotted key (equal to value, or matching regex).",
            compile=_annotation,
            fields=_fields(["plugin_name"], plugin_name=_TEXT, key=_TEXT, value={}, regex=_TEXT),
        ),
    )
}
