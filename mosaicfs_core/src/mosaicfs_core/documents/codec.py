"""Between JSON objects and typed documents: validation, parsing, writing, and the JSON Schemas of the types.

At the store's seam a document is a plain dict with ``_id`` (and ``_rev`` once stored). ``validate`` is on the path of
every write, so it lets ``msgspec`` walk the dict and adds only what types cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

from mosaicfs_core.documents import checks
from mosaicfs_core.documents.base import EXTRA_WIRE_NAME, Document, Record
from mosaicfs_core.documents.ids import type_of_id
from mosaicfs_core.documents.types import DOCUMENT_TYPES
from mosaicfs_core.errors import InvalidDocument, MosaicError
from mosaicfs_core.wording import in_words

D = TypeVar("D", bound=Document)

_convert = msgspec.convert


def _explain(error: msgspec.ValidationError, struct: type[Document]) -> InvalidDocument:
    """Turn ``Expected `int`, got `str` - at `$.size``` into ``size: expected a whole number, got a text``."""
    field, problem = in_words(error, struct)
    return InvalidDocument(f"{field}: {problem}" if field else problem, field=field)


def _typed(document: Mapping[str, Any]) -> tuple[str, Document | None]:
    """Check a document whole; its type, and its struct unless it is a tombstone."""
    document_id = document.get("_id")
    if not isinstance(document_id, str):
        checks.fail("_id", "is missing: expected text")
    type_name = document.get("type")
    if document.get("_deleted"):
        routed = type_of_id(document_id)
        if routed is None:
            checks.fail("_id", f"{document_id!r} has the prefix of no document type")
        checks.tombstone(document, routed)
        return routed, None
    struct = DOCUMENT_TYPES.get(type_name) if isinstance(type_name, str) else None
    if struct is None or type_name is None:
        checks.fail("type", f"{type_name!r} is no document type: expected one of {', '.join(DOCUMENT_TYPES)}")
    try:
        typed = _convert(document, struct)
    except msgspec.ValidationError as error:
        raise _explain(error, struct) from None
    checks.CHECKS[type_name](document)
    return type_name, typed


def validate(document: Mapping[str, Any]) -> None:
    """Raise ``InvalidDocument`` (its ``field`` a dotted path) unless the document may be written."""
    _typed(document)


def parse(document: Mapping[str, Any]) -> Document:
    """The typed form of a document, checked; fields that the type does not know are kept in ``extra``.

    Raises ``InvalidDocument``, for a tombstone too: it has no typed form.
    """
    type_name, typed = _typed(document)
    if typed is None:
        checks.fail("_deleted", f"a deleted {type_name} has no typed form")
    _keep_unknown(typed, document)
    return typed


@cache
def _wire_names(record: type[Record]) -> tuple[tuple[str, str], ...]:
    """(attribute, JSON name) of each field but ``extra``."""
    return tuple((field.name, field.encode_name) for field in msgspec.structs.fields(record) if field.name != "extra")


@cache
def _known(record: type[Record]) -> frozenset[str]:
    return frozenset(wire for _, wire in _wire_names(record))


def _keep_unknown(record: Record, source: Mapping[str, Any]) -> None:
    """Put the fields of ``source`` that ``record``'s type does not know into ``extra``, at every depth."""
    known = _known(type(record))
    unknown = {key: value for key, value in source.items() if key not in known}
    msgspec.structs.force_setattr(record, "extra", unknown)
    for name, wire in _wire_names(type(record)):
        value = getattr(record, name)
        if isinstance(value, Record):
            if (inner := source.get(wire)) is not None:
                _keep_unknown(value, inner)
        elif isinstance(value, tuple) and value and isinstance(value[0], Record):
            for element, inner in zip(value, source[wire], strict=True):
                _keep_unknown(element, inner)
        elif isinstance(value, dict):
            for key, element in value.items():
                if isinstance(element, Record):
                    _keep_unknown(element, source[wire][key])


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return to_document(value)
    if isinstance(value, tuple | list):
        return [_plain(element) for element in value]
    if isinstance(value, Mapping):
        return {key: _plain(element) for key, element in value.items()}
    return value


def to_document(record: Record) -> dict[str, Any]:
    """The JSON object of a typed document, or of a part of one; None is left out, unknown fields are put back."""
    plain = {
        wire: _plain(value) for name, wire in _wire_names(type(record)) if (value := getattr(record, name)) is not None
    }
    for key, value in record.extra.items():
        plain.setdefault(key, value)
    return plain


def new_document(record: D) -> dict[str, Any]:
    """``to_document`` of a freshly made struct, validated: bounds are not checked when a struct is constructed."""
    document = to_document(record)
    validate(document)
    return document


def is_valid(document: Mapping[str, Any]) -> bool:
    """Whether ``validate`` would pass."""
    try:
        validate(document)
    except MosaicError:
        return False
    return True


def json_schema(type_name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a document type, for programs that do not share our classes."""
    (schema,), components = msgspec.json.schema_components([DOCUMENT_TYPES[type_name]], ref_template="#/$defs/{name}")
    for component in components.values():
        component.get("properties", {}).pop(EXTRA_WIRE_NAME, None)
        component["additionalProperties"] = True
        if "type" in component.get("properties", {}):
            component["required"] = sorted({*component.get("required", ()), "type"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": components,
    }
