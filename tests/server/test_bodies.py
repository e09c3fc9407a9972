"""Bodies are taken as the description says, type by type, and no deeper than what works on them can go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mosaicfs_core.errors import UserError
from mosaicfs_core.server.bodies import MAX_DEPTH, refuse_deep


def nested(depth: int) -> Any:
    """Objects and lists in one another."""
    value: Any = 1
    for number in range(depth):
        value = {"a": value} if number % 2 else [value]
    return value


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/api/system/reindex", {"full": 0}, "full"),
        ("POST", "/api/system/reindex", {"full": "false"}, "full"),
        ("POST", "/api/nodes/{node}/crawl", {"full": 1}, "full"),
        ("POST", "/api/nodes/{node}/plugins", {"plugin_name": "mine", "workers": "2"}, "workers"),
        ("POST", "/api/labels/rules", {"path_prefix": "/", "labels": ["a"], "enabled": 0}, "enabled"),
        ("POST", "/api/labels/rules/preview", {"path_prefix": "/", "examples": "5"}, "examples"),
        ("POST", "/api/vfs/directories", {"path": "/d", "parents": "true"}, "parents"),
    ],
)
async def test_a_value_of_another_type_is_refused(
    instance: Any, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await instance.ask(method, path.format(node=instance.node_id), json=body)
    assert answer.status_code == 400
    assert json.loads(await answer.get_data())["error"]["details"] == {"field": field}


async def test_query_strings_are_text_and_stay_so(instance: Any) -> None:
    assert (await instance.ask("GET", "/api/files?limit=5")).status_code == 200


async def test_settings_that_nest_too_deep_are_refused(instance: Any) -> None:
    path = f"/api/nodes/{instance.node_id}/plugins"
    for depth in (MAX_DEPTH, 400, 900):
        answer = await instance.ask("POST", path, json={"plugin_name": "mine", "settings": {"a": nested(depth)}})
        error = json.loads(await answer.get_data())["error"]
        assert (answer.status_code, error["details"]) == (400, {"field": "settings"})
    answer = await instance.ask("POST", path, json={"plugin_name": "mine", "settings": {"a": nested(50)}})
    assert answer.status_code == 201


async def test_a_body_that_is_no_json_is_told_at_which_byte(instance: Any) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await instance.ask("POST", "/api/credentials", data=b'{"name": x}', headers=headers)
    error = json.loads(await answer.get_data())["error"]
    assert error["code"] == "invalid"
    assert error["message"].startswith("the body cannot be read as JSON: ")
    assert "byte 9" in error["message"]


@pytest.mark.parametrize("body", [None, 1, [], {}, nested(MAX_DEPTH - 1), {"a": nested(MAX_DEPTH - 1)}])
def test_what_is_shallow_passes(body: Any) -> None:
    refuse_deep(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [([nested(MAX_DEPTH)], "the body"), ({"a": 1, "b": nested(MAX_DEPTH)}, "b"), ({"": nested(900)}, "")],
)
def test_what_is_deep_is_refused_by_name(body: Any, field: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_deep(body)
    assert caught.value.details["field"] == field
