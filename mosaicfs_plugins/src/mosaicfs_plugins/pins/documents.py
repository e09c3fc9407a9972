"""Plugin documents with pins in them: how they are read and changed. Pure functions over plain JSON objects."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mosaicfs_plugins.pins.settings import PACKAGE, SCHEMA

Pin = Mapping[str, Any]


def document_id(node_id: str) -> str:
    """The id of a node's instance."""
    return f"plugin::{node_id}::{PACKAGE}"


def pins_of(document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The pins of an instance, whether they stand in its settings or in its first configuration."""
    if document is None:
        return []
    settings = {**(document.get("config") or {}), **(document.get("settings") or {})}
    return [dict(pin) for pin in settings.get("pins") or ()]


def with_pins(document: Mapping[str, Any] | None, node_id: str, pins: Sequence[Pin]) -> dict[str, Any]:
    """The document of a node's instance with these pins; a new one where there is none."""
    body: dict[str, Any] = dict(document) if document is not None else _new(node_id)
    return {**body, "settings": {**(body.get("settings") or {}), "pins": [dict(pin) for pin in pins]}}


def put(pins: Sequence[Pin], pin: Pin) -> list[Pin]:
    """The pins with one more, which takes the place of the one of its name."""
    if all(one["name"] != pin["name"] for one in pins):
        return [*pins, pin]
    return [pin if one["name"] == pin["name"] else one for one in pins]


def without(pins: Sequence[Pin], name: str) -> list[Pin]:
    """The pins without the one of that name."""
    return [pin for pin in pins if pin["name"] != name]


def definition(pin: Pin) -> str:
    """What a pin holds, as a text that is the same for pins that hold the same."""
    return json.dumps(
        [pin.get("directory"), pin.get("steps") or [], pin.get("default_result") or "include"], sort_keys=True
    )


def version(name: str, pins_by_node: Mapping[str, Pin]) -> dict[str, Any] | None:
    """What stands for the version of a pin on all its nodes, as ``etag_of`` wants it; None for a pin that is not."""
    if not pins_by_node:
        return None
    text = json.dumps([name, sorted((node_id, definition(pin)) for node_id, pin in pins_by_node.items())])
    return {"_rev": hashlib.sha256(text.encode()).hexdigest()}


def _new(node_id: str) -> dict[str, Any]:
    return {
        "_id": document_id(node_id),
        "type": "plugin",
        "node_id": node_id,
        "plugin_name": PACKAGE,
        "package": PACKAGE,
        "plugin_type": "package",
        "enabled": True,
        "name": "Pins",
        "config": {},
        "settings_schema": copy.deepcopy(dict(SCHEMA)),
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
