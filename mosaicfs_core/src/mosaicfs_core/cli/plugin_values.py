"""Settings as words of a command line: which there are, which must not stand there, and what the words mean.

A schema is a manifest's ``settings_schema``, None where nobody knows it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mosaicfs_core.errors import UserError
from mosaicfs_core.plugins.schema_shape import translate
from mosaicfs_core.similar import similar

_BRANCHES: Final = ("$ref", "allOf", "anyOf", "oneOf", "patternProperties")
"""What a schema says by these is for a validator to judge."""


def shown_rows(schema: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each setting that there is: its value or default, and its title."""
    known = _properties(schema)
    rows = []
    for key in [*known, *(key for key in settings if key not in known)]:
        part = known.get(key, {})
        value = settings.get(key, part.get("default"))
        if value == {"set": True}:
            value = "(set)"
        title = part.get("title") or part.get("description") or ""
        rows.append({"setting": key, "value": value, "title": title})
    return rows


def check_key(name: str, schema: Mapping[str, Any] | None, key: str) -> None:
    """Raise ``UserError`` with what may be meant for a setting that the plugin does not have."""
    known = _properties(schema)
    free = schema is None or schema.get("additionalProperties") or any(branch in schema for branch in _BRANCHES)
    if key in known or (free and key):
        return
    if not known:
        raise UserError(f"{name} has no settings, so there is no {key!r} to set", field=f"settings.{key}")
    near = similar(key, known)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise UserError(f"{name} has no setting {key!r}; {hint}", field=f"settings.{key}")


def check_open(name: str, schema: Mapping[str, Any] | None, key: str) -> None:
    """Raise ``UserError`` when the value is, or holds, a secret: it must not come from an argument."""
    if _holds_secret(_properties(schema).get(key)):
        raise UserError(
            f"{key} is a secret, and others can read what stands on a command line: `mosaicfs plugin set {name} {key}` "
            "asks for it, or reads it from standard input",
            field=f"settings.{key}",
        )


def value_of(schema: Mapping[str, Any] | None, key: str, texts: Sequence[str]) -> Any:
    """The value that the words given for a setting mean. Raises ``UserError`` when they cannot be one."""
    part = _properties(schema).get(key)
    if part is not None and part.get("type") == "array" and not (len(texts) == 1 and texts[0].startswith("[")):
        items = part.get("items")
        return [_value(items if isinstance(items, Mapping) else None, key, text) for text in texts]
    if len(texts) > 1:
        raise UserError(f"{key} is given {len(texts)} times, and is no list", field=f"settings.{key}")
    return _value(part, key, texts[0])


def asked_value(schema: Mapping[str, Any] | None, key: str, text: str) -> Any:
    """The value that was asked for: text where nobody knows better, for a password may look like a number."""
    return value_of(schema, key, [text]) if key in _properties(schema) else text


def _value(part: Mapping[str, Any] | None, key: str, text: str) -> Any:
    kind = None if part is None else part.get("type")
    if kind == "string":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        if kind is None or (isinstance(kind, list) and "string" in kind):
            return text
        expected = "true or false" if kind == "boolean" else f"{kind} (as JSON)"
        raise UserError(f"{key}: expected {expected}, got {text!r}", field=f"settings.{key}") from None
    # What an enum lists may look like a number and be a text.
    return text if part is not None and text in part.get("enum", ()) else value


def _properties(schema: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    found = {} if schema is None else translate(schema).get("properties", {})
    return {key: dict(part) if isinstance(part, Mapping) else {} for key, part in found.items()}


def _holds_secret(part: Any) -> bool:
    if isinstance(part, Mapping):
        return part.get("format") == "secret" or any(_holds_secret(inner) for inner in part.values())
    return isinstance(part, list) and any(_holds_secret(inner) for inner in part)
