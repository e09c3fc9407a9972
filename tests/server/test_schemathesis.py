"""The whole API as its description has it, asked by Schemathesis with real ids: what is described is what is answered.

No operation is left out. Those that would end the run are asked on something made for them: signing out ends a session
of its own, disabling takes a spare key or node, deleting a spare rule (``api_feed.USED_UP`` and ``asking``). What
OpenAPI has no words for is in ``openapi.UNDESCRIBED``; it has tests of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from api_feed import BODIES, QUERIES, asking, paths_of
from api_run import Report, run
from api_world import TIMEOUT_S, World, running_world

UNREACHED = {
    "POST /api/agent/relay/{ticket}": "a ticket is given over the link, while somebody waits for a file",
}
"""Operations that are asked and cannot succeed here, and why; ``link/test_relay.py`` reaches them."""

HOSTILE = {
    "a NUL": r'"/a\u0000b"',
    "a lone surrogate": r'"/a\ud800b"',
    "no character": r'"/\uffff\udbff\udfff"',
    "a huge number": "9" * 400,
    "a number beyond all": "1e400",
    "a long text": f'"/{"x/" * 500_000}"',
    "a way up": '"/../../etc/passwd"',
    "deep objects": '{"a":' * 900 + "1" + "}" * 900,
    "very deep lists": "[" * 100_000 + "]" * 100_000,
    "what the store hides": '[{"_id": null, "_rev": "1-a", "_deleted": true}]',
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An instance with something of everything in it."""
    with running_world(tmp_path_factory.mktemp("world")) as running:
        yield running


def told(report: Report) -> str:
    """The failures, in the words of Schemathesis."""
    return "\n\n".join(f"{operation}: {name}\n{text}" for (operation, name), text in report.failures.items())


def test_every_operation_does_what_its_description_says(world: World) -> None:
    report = run(world)
    assert not report.failures, told(report)
    assert report.unreached() == UNREACHED.keys()
    assert len(UNREACHED) <= 0.1 * len(report.statuses)
    assert len(report.statuses) > 60
    assert report.requests > 3000


def test_a_hostile_value_in_a_body_is_refused_by_name(world: World) -> None:
    description = world.ask("GET", "/api/openapi.json")
    asked = 0
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            if "application/json" in operation.get("requestBody", {}).get("content", ()):
                for field in fields_of(description, operation):
                    for kind, value in HOSTILE.items():
                        refused_by_name(world, f"{method.upper()} {path}", operation, (field, kind, value))
                        asked += 1
    assert asked > 500


def fields_of(description: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """The names of a body's fields."""
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return list(description["components"]["schemas"][reference.rpartition("/")[2]]["properties"])


def refused_by_name(world: World, label: str, operation: dict[str, Any], wrong: tuple[str, str, str]) -> None:
    """Send a body that is right but for one field: it is refused as described, naming a place, or it is taken."""
    field, kind, value = wrong
    method, path = label.split(" ")
    for name, make in paths_of(label).items():
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(make(world), safe=""))
    query = urlencode({name: make(world) for name, make in QUERIES.get(label, {}).items()})
    right = {name: part for name, part in BODIES[label](world).items() if name != field}
    body = json.dumps(right)[:-1] + (", " if right else "") + f"{json.dumps(field)}: {value}}}"
    auth, cookies = asking(world, label, label.split(" ")[1])
    answer = world.session.request(
        method,
        f"{world.url}{path}?{query}",
        data=body,
        headers={"Content-Type": "application/json"},
        auth=auth,
        cookies=cookies,
        timeout=TIMEOUT_S,
    )
    place = (label, field, kind, answer.status_code, answer.text[:500])
    assert answer.status_code < 500, place
    assert str(answer.status_code) in operation["responses"], place
    assert len(answer.content) < 20_000 or answer.ok, place
    if answer.status_code == 400:
        error = answer.json()["error"]
        undecodable = error["message"].startswith("the body cannot be read as JSON: ")
        assert undecodable or error["details"]["field"], place
