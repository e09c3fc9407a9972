"""Protects plugin settings: wrong ones are named by field, defaults are filled, secrets never leave."""

from __future__ import annotations

import pytest

from mosaicfs_core.errors import PluginError
from mosaicfs_core.plugins.settings import SettingsSchema, structure_problem, translate

SCHEMA = {
    "type": "object",
    "required": ["folder"],
    "additionalProperties": False,
    "properties": {
        "folder": {"type": "string", "minLength": 1},
        "depth": {"type": "integer", "minimum": 0, "default": 3},
        "mode": {"type": "enum", "values": ["fast", "exact"], "default": "fast"},
        "token": {"type": "secret", "minLength": 8},
        "server": {
            "type": "object",
            "default": {},
            "properties": {"host": {"type": "string", "default": "localhost"}, "password": {"type": "secret"}},
        },
    },
}


def test_wrong_settings_are_named_by_field() -> None:
    wrong = SettingsSchema("mine", SCHEMA).errors({"depth": -1, "mode": "slow", "server": {"host": 7}, "extra": 1})
    found = {error.field: error.message for error in wrong}
    assert found["folder"] == "is required"
    assert found["depth"] == "-1 is less than the minimum of 0"
    assert found["mode"] == "'slow' is not one of ['fast', 'exact']"
    assert found["server.host"] == "7 is not of type 'string'"
    assert found["extra"].startswith("unknown setting; expected one of ")


def test_a_pattern_is_told_in_the_words_of_its_description() -> None:
    path = {"type": "string", "pattern": "^/", "description": "An absolute path."}
    described = {"type": "object", "properties": {"paths": {"type": "array", "items": path}}}
    assert SettingsSchema("mine", described).errors({"paths": ["/a", "rel"]}) == [
        ("paths.1", "expected an absolute path, got 'rel'")
    ]
    plain = {"type": "object", "properties": {"path": {"type": "string", "pattern": "^/"}}}
    assert SettingsSchema("mine", plain).errors({"path": "rel"}) == [("path", "'rel' does not match '^/'")]


def test_a_wrong_secret_is_not_repeated() -> None:
    (error,) = SettingsSchema("mine", SCHEMA).errors({"folder": "f", "token": "hunter2"})
    assert error.field == "token"
    assert "hunter2" not in error.message


def test_defaults_are_filled_at_every_depth_and_not_shared() -> None:
    schema = SettingsSchema("mine", SCHEMA)
    filled = schema.filled({"folder": "f", "depth": 9})
    assert filled == {"folder": "f", "depth": 9, "mode": "fast", "server": {"host": "localhost"}}
    filled["server"]["host"] = "changed"
    assert schema.filled({})["server"] == {"host": "localhost"}


def test_secrets_are_masked_and_an_untouched_mask_keeps_the_stored_one() -> None:
    schema = SettingsSchema("mine", SCHEMA)
    stored = {"folder": "f", "token": "secret-token", "server": {"host": "h", "password": "pw"}}
    masked = schema.masked(stored)
    assert masked == {"folder": "f", "token": {"set": True}, "server": {"host": "h", "password": {"set": True}}}
    assert schema.unmasked({**masked, "folder": "g"}, stored) == {**stored, "folder": "g"}
    assert schema.unmasked({"token": "new-secret"}, stored) == {"token": "new-secret"}


@pytest.mark.parametrize(
    "schema", [None, {"type": "object"}, {"type": "object", "properties": {"a": {"type": "string"}}}]
)
def test_every_text_that_no_schema_describes_is_masked(schema: dict[str, object] | None) -> None:
    known = SettingsSchema("mine", schema)
    stored = {"password": "hunter2", "port": 7, "on": True, "empty": "", "more": {"tokens": ["one", "two", 3]}}
    masked = known.masked(stored)
    mask = {"set": True}
    assert masked == {"password": mask, "port": 7, "on": True, "empty": "", "more": {"tokens": [mask, mask, 3]}}
    assert known.unmasked({**masked, "port": 8}, stored) == {**stored, "port": 8}


def test_secrets_in_lists_maps_and_branches_are_masked() -> None:
    schema = SettingsSchema(
        "mine",
        {
            "type": "object",
            "$defs": {"login": {"type": "object", "properties": {"password": {"type": "secret"}}}},
            "properties": {
                "login": {"$ref": "#/$defs/login"},
                "either": {"anyOf": [{"type": "secret"}, {"type": "integer"}]},
                "keys": {"type": "array", "items": {"type": "secret"}},
                "names": {"type": "array", "items": {"type": "string"}},
                "by_host": {"type": "object", "additionalProperties": {"type": "secret"}},
            },
        },
    )
    stored = {
        "login": {"password": "pw"},
        "either": "pw",
        "keys": ["one", "two"],
        "names": ["a"],
        "by_host": {"example.org": "pw"},
    }
    mask = {"set": True}
    masked = schema.masked(stored)
    assert masked == {
        "login": {"password": mask},
        "either": mask,
        "keys": [mask, mask],
        "names": ["a"],
        "by_host": {"example.org": mask},
    }
    assert schema.unmasked(masked, stored) == stored
    (wrong, *_) = schema.errors(schema.unmasked({**masked, "keys": [mask]}, stored))
    assert wrong.field == "keys.0"


def test_an_error_in_a_whole_object_repeats_none_of_its_secrets() -> None:
    schema = SettingsSchema("mine", {**SCHEMA, "maxProperties": 1})
    wrong = schema.errors({"folder": "f", "token": "hunter2-and-more"})
    assert wrong
    assert not any("hunter2" in error.message for error in wrong)


def test_shorthands_are_translated_and_values_that_look_like_schemas_are_not() -> None:
    assert translate({"type": "secret", "title": "T"}) == {
        "type": "string",
        "format": "secret",
        "writeOnly": True,
        "title": "T",
    }
    assert translate({"items": {"type": "enum", "enum": [1, 2]}}) == {"items": {"enum": [1, 2]}}
    assert translate({"default": {"type": "secret"}}) == {"default": {"type": "secret"}}


def test_a_schema_that_is_none_is_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match="plugin mine: its settings_schema is not a JSON Schema"):
        SettingsSchema("mine", {"type": "object", "properties": {"a": {"minimum": "low"}}})


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (7, "expected an object"),
        ({"type": "array"}, "its type is 'array'"),
        ({"properties": []}, "its properties are no object"),
        ({"properties": {"a": 7}}, "properties.a is no schema"),
        ({"properties": {"a": {"type": "text"}}}, "unknown type 'text'"),
    ],
)
def test_what_plainly_is_no_schema_is_found_at_load(schema: object, problem: str) -> None:
    assert problem in (structure_problem(schema) or "")
    assert structure_problem(SCHEMA) is None
