"""Protects plugin settings: wrong ones are named by field, defaults are filled, secrets never leave."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaicfs_core.errors import PluginError
from mosaicfs_core.plugins.schema_shape import structure_problem, translate
from mosaicfs_core.plugins.settings import MASK, SettingsSchema

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
    secret = {"type": "string", "format": "secret", "writeOnly": True, "title": "T"}
    named = {"properties": {"default": {"type": "secret", "title": "T"}}}
    assert translate(named) == {"properties": {"default": secret}}
    assert translate({"items": {"type": "enum", "enum": [1, 2]}}) == {"items": {"enum": [1, 2]}}
    assert translate({"default": {"type": "secret"}}) == {"default": {"type": "secret"}}


def test_a_schema_that_is_none_is_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match="plugin mine: its settings_schema is not a JSON Schema"):
        SettingsSchema.compiled("mine", {"type": "object", "properties": {"a": {"minimum": "low"}}})


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (7, "expected an object"),
        ({"type": "array"}, "its type is 'array'"),
        ({"properties": []}, "its properties are no object"),
        ({"properties": {"a": 7}}, "properties.a is no schema"),
        ({"properties": {"a": {"type": "text"}}}, "unknown type 'text'"),
        ({"properties": {"a": {"type": {"b": 1}}}}, "properties.a has the unknown type a dict"),
        ({"properties": {"a": {"type": ["null", "secret"]}}}, "properties.a has the unknown type a list"),
        ({"properties": {"a": {"type": "enum", "values": 5}}}, "properties.a is an enum without a list of values"),
        ({"properties": {"a": {"items": {"type": "enum"}}}}, "properties.a.items is an enum without a list of values"),
        ({"properties": {"a": {"items": [{}]}}}, "properties.a.items is no schema"),
        ({"properties": {"a": {"anyOf": [True, 7]}}}, "properties.a.anyOf.1 is no schema"),
        ({"properties": {"a": {"allOf": {}}}}, "properties.a.allOf is no list"),
        ({"properties": {7: {}}}, "properties.7 is a key that is no text"),
    ],
)
def test_what_plainly_is_no_schema_is_found_at_load(schema: object, problem: str) -> None:
    assert problem in (structure_problem(schema) or "")
    assert structure_problem(SCHEMA) is None


def nested(levels: int, start: object, *keys: str) -> object:
    """``start`` within so many objects of these keys in turn, or so many lists where there are none."""
    for level in range(levels):
        start = {keys[level % len(keys)]: start} if keys else [start]
    return start


@pytest.mark.parametrize(
    "schema",
    [
        nested(800, {}, "a", "properties"),
        nested(5000, {}, "not"),
        {"properties": {"a": {"default": nested(5000, "x")}}},
        {"properties": {"a": {"type": "enum", "values": [nested(5000, {}, "deep")]}}},
    ],
)
def test_a_schema_deeper_than_anybody_walks_is_refused_by_its_place(schema: Any) -> None:
    with pytest.raises(PluginError, match=r"plugin mine: its settings_schema .* has more than 64 levels"):
        SettingsSchema("mine", schema)


def test_a_schema_of_more_parts_than_are_walked_each_time_is_refused() -> None:
    many = {"properties": {"a": {"allOf": [{} for _ in range(15_000)]}}}
    with pytest.raises(PluginError, match=r"up to properties\.a\.allOf it has more than 2,000 parts"):
        SettingsSchema("mine", many)


@pytest.mark.parametrize("pattern", ["(" * 5000, "a{99999999999999999999}"])
def test_a_pattern_that_breaks_its_compiler_is_the_plugins_fault(pattern: str) -> None:
    with pytest.raises(PluginError, match="plugin mine: its settings_schema is not a JSON Schema"):
        SettingsSchema.compiled("mine", {"properties": {"a": {"pattern": pattern}}})


@pytest.mark.parametrize("reference", ["#", "#/nowhere", "http://127.0.0.1:9/schema"])
def test_a_reference_that_leads_nowhere_is_the_plugins_fault_and_nothing_is_fetched(reference: str) -> None:
    schema = SettingsSchema.compiled("mine", {"$ref": reference})
    with pytest.raises(PluginError, match="plugin mine: settings cannot be checked by its settings_schema"):
        schema.errors({"a": 1})


def test_settings_deeper_than_any_schema_are_hidden_as_a_whole() -> None:
    shown = str(SettingsSchema("mine", {"properties": {"a": {}}}).masked({"a": nested(500, "hunter2")}))
    assert "hunter2" not in shown
    assert str(MASK) in shown


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYWORDS = st.one_of(
    st.sampled_from(["type", "properties", "items", "values", "enum", "default", "format", "anyOf", "allOf", "$defs"]),
    st.sampled_from(["$ref", "not", "required", "additionalProperties", "pattern", "minimum", "patternProperties"]),
    st.sampled_from(["prefixItems", "$id", "const", "$anchor", "$dynamicRef", "description"]),
)
TYPES = st.sampled_from(["object", "string", "secret", "enum", "array", "text"])
SCHEMAS = st.recursive(
    LITERALS | TYPES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYWORDS, inner, max_size=4)
        | st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)})
        | st.fixed_dictionaries({"type": TYPES}, optional={"values": inner, "default": inner})
    ),
    max_leaves=25,
)
SETTINGS = st.dictionaries(st.sampled_from("abc"), LITERALS, max_size=3)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMAS, values=SETTINGS)
def test_of_any_json_as_a_schema_only_a_plugin_error_comes(schema: Any, values: dict[str, Any]) -> None:
    if schema is not None and structure_problem(schema) is not None:
        with pytest.raises(PluginError, match="plugin mine: its settings_schema is no schema of an object: "):
            SettingsSchema("mine", schema)
        return
    made = SettingsSchema("mine", schema)
    made.masked(values)
    made.sealed(values, lambda _: "sealed1.x")
    made.filled(values)
    made.unmasked(values, values)
    with contextlib.suppress(PluginError):
        made.errors(values)
