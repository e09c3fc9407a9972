"""The settings of an instance: a list of pins, each a name and what it holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mosaicfs_core.hooks import Selection

PACKAGE: Final = "pins"
MAX_PINS: Final = 200
MAX_NAME: Final = 200

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "pins": {
            "title": "Pins",
            "description": "What is kept on this machine; of two that wait, the files of the first are fetched first.",
            "type": "array",
            "default": [],
            "maxItems": MAX_PINS,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                # A pin that says nothing but its name would be a pin of everything.
                "minProperties": 2,
                "properties": {
                    "name": {"title": "Name", "type": "string", "minLength": 1, "maxLength": MAX_NAME},
                    "directory": {
                        "title": "Virtual directory",
                        "description": "All that it shows, at any depth.",
                        "type": "string",
                        "pattern": "^/",
                    },
                    "steps": {
                        "title": "Filter steps",
                        "description": "Of these files, or of all where no directory is named, those that pass.",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["op"],
                            "properties": {"op": {"title": "Op", "type": "string"}},
                            # Said to be plain values, so that they are shown and not taken for secrets.
                            "additionalProperties": {"items": {}},
                        },
                    },
                    "default_result": {"title": "What passes all steps is", "enum": ["include", "exclude"]},
                },
            },
        }
    },
}


def selection_of(pin: Mapping[str, Any]) -> Selection:
    """What a pin holds."""
    return Selection(
        directory=pin.get("directory"),
        steps=tuple(pin.get("steps") or ()),
        default_result=pin.get("default_result") or "include",
    )


def selections_of(config: Mapping[str, Any]) -> dict[str, Selection]:
    """The pins of an instance by name, in their order; of two of one name the first."""
    found: dict[str, Selection] = {}
    for pin in config.get("pins") or ():
        found.setdefault(str(pin["name"]), selection_of(pin))
    return found
