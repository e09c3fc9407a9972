"""The shape of a settings schema: whether it is one that can be read at all, and its shorthands written out.

A schema comes from a stranger's manifest, or from a document whose machine need not be honest. So all of it is looked
at before anything walks it: quickly, without jsonschema, and without recursion. What stands where no schema is expected
(a default, the values of an enum) is a literal, and stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from mosaicfs_core.errors import PluginError

MOST_LEVELS: Final = 64
"""Objects and lists within one another, in a schema and in settings: whatever walks them recurses."""
MOST_PARTS: Final = 2000
"""Objects and lists of a schema altogether: it is walked whenever settings are shown."""
_TYPES: Final = ("string", "integer", "number", "boolean", "array", "object", "null")
_SHORTHANDS: Final = ("secret", "enum")
_SCHEMAS: Final = frozenset(
    [
        "items",
        "contains",
        "additionalProperties",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
        "not",
        "if",
        "then",
        "else",
        "contentSchema",
    ]
)
_NAMED_SCHEMAS: Final = frozenset(["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"])
_LISTED_SCHEMAS: Final = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
_Placed: TypeAlias = tuple[str, Any]


def structure_problem(schema: Any) -> str | None:
    """Why something is no schema of an object's settings, naming the place, or None. The rest of what makes a JSON
    Schema, which only a validator goes by, is jsonschema's to tell."""
    if not isinstance(schema, Mapping):
        return f"expected an object, not {type(schema).__name__}"
    if schema.get("type", "object") != "object":
        return f"its type is {_short(schema['type'])}, not 'object'"
    size = _size_problem(schema)
    if size is not None:
        return size
    waiting: list[_Placed] = [("", schema)]
    while waiting:
        place, part = waiting.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, Mapping):
            return f"{place} is no schema"
        problem = _keywords_problem(place, part) or _type_problem(place, part)
        if problem is not None:
            return problem
        waiting += _within(place, part)
    return None


def _size_problem(schema: Any) -> str | None:
    """That a schema has more levels or parts than are walked, or a key that is no text, and where; or None."""
    waiting: list[tuple[str, Any, int]] = [("", schema, 1)]
    parts = 0
    while waiting:
        place, part, level = waiting.pop()
        parts += 1
        if level > MOST_LEVELS:
            return f"{place[:100]} has more than {MOST_LEVELS} levels"
        if parts > MOST_PARTS:
            return f"up to {place[:100]} it has more than {MOST_PARTS:,} parts"
        inner = [(place, value) for value in part]
        if isinstance(part, Mapping):
            odd = [key for key in part if not isinstance(key, str)]
            if odd:
                return f"{_place(place, _short(odd[0]))} is a key that is no text"
            inner = [(_place(place, key), value) for key, value in part.items()]
        waiting += [(where, one, level + 1) for where, one in inner if isinstance(one, Mapping | list | tuple)]
    return None


def translate(schema: Mapping[str, Any], plugin: str = "") -> dict[str, Any]:
    """A schema with the shorthands written out, at any depth. The given one is left as it is. Raises ``PluginError``
    where it is none of an object."""
    problem = structure_problem(schema)
    if problem is not None:
        whose = f"plugin {plugin}: its" if plugin else "the"
        message = f"{whose} settings_schema is no schema of an object: {problem}"
        raise PluginError(message, plugin, "mosaicfs_manifest")
    return {key: _written_out(key, value) for key, value in schema.items()}


def _schema(schema: Any) -> Any:
    if isinstance(schema, bool):
        return schema
    kind = schema.get("type")
    rest = {key: _written_out(key, value) for key, value in schema.items() if key != "type"}
    if kind == "secret":
        return {"type": "string", "format": "secret", "writeOnly": True, **rest}
    if kind == "enum":
        listed = rest.pop("enum", [])
        return {"enum": list(rest.pop("values", listed)), **rest}
    return rest if kind is None else {"type": copy.deepcopy(kind), **rest}


def _written_out(keyword: str, value: Any) -> Any:
    if keyword in _SCHEMAS:
        return _schema(value)
    if keyword in _NAMED_SCHEMAS:
        return {name: _schema(part) for name, part in value.items()}
    return [_schema(part) for part in value] if keyword in _LISTED_SCHEMAS else copy.deepcopy(value)


def _within(place: str, schema: Mapping[str, Any]) -> Iterator[_Placed]:
    """The schemas right within one, whose keywords are right."""
    for keyword, value in schema.items():
        where = _place(place, keyword)
        if keyword in _SCHEMAS:
            yield where, value
        elif keyword in _NAMED_SCHEMAS:
            yield from ((_place(where, name), part) for name, part in value.items())
        elif keyword in _LISTED_SCHEMAS:
            yield from ((f"{where}.{number}", part) for number, part in enumerate(value))


def _keywords_problem(place: str, schema: Mapping[str, Any]) -> str | None:
    for keyword in schema.keys() & _NAMED_SCHEMAS:
        if not isinstance(schema[keyword], Mapping):
            return f"its {keyword} are no object" if not place else f"{_place(place, keyword)} is no object"
    for keyword in schema.keys() & _LISTED_SCHEMAS:
        if not isinstance(schema[keyword], list | tuple):
            return f"{_place(place, keyword)} is no list"
    return None


def _type_problem(place: str, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a schema's type, and with the values of an enum."""
    kind = schema.get("type", "object")
    alone = not isinstance(kind, list | tuple)
    known = (*_TYPES, *_SHORTHANDS) if alone else _TYPES
    if not all(one in known for one in ([kind] if alone else kind)):
        return f"{place} has the unknown type {_short(kind)}"
    if kind == "enum":
        values = schema.get("values", schema.get("enum"))
        if not isinstance(values, list | tuple) or not values:
            return f"{place} is an enum without a list of values"
    return None


def _place(place: str, key: str) -> str:
    return f"{place}.{key[:100]}" if place else key[:100]


def _short(value: Any) -> str:
    """A value for a message; of something large only what it is."""
    return repr(value)[:100] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
