"""What holds for every route there is, plugins' included: a key is needed, errors have one shape, paths stay inside."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

import mosaicfs_core
from mosaicfs_core.server.auth.guard import PUBLIC

SOURCES = str(Path(mosaicfs_core.__file__).parent)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
STATIC = {
    "/",
    "/api/auth/bootstrap",
    "/api/auth/login",
    "/api/auth/refresh",
    "/api/docs",
    "/api/health",
    "/api/openapi.json",
    "/static/<name>",
}
HOSTILE = (
    "..",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "....//....//etc/passwd",
    "%00",
    "a%00b",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "file:%2f%2f%2fetc%2fpasswd",
    "..\\..\\windows",
    "node-x.5c1e0000-0000-0000-0000-000000000000%2f..",
    "x" * 5000,
    "%F0%9F%92%A9",
    "%ff%fe",
    "{}",
    "' OR 1=1 --",
)

HOSTILE_VALUES = (
    "",
    "-1",
    "9" * 30,
    "1e400",
    "NaN",
    "true",
    "[",
    "(",
    "*" * 200,
    "0001-01-01",
    "9999-12-31T23:59:59.999999-23:59",
    "../x&path=/y",
    *(urlsafe_b64encode(text).decode() for text in (b"[0,[9223372036854775808],0]", b"[-5,[0],0]", b'[0,["x"],-1]')),
)


def routes(app: Any) -> list[tuple[str, str, str]]:
    """Method, rule and endpoint of everything the app answers."""
    return sorted(
        (method, rule.rule, rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & set(METHODS)
    )


def filled(rule: str, value: str) -> str:
    """The rule with every parameter replaced."""
    parts = [value if part.startswith("<") else part for part in rule.split("/")]
    return "/".join(parts)


def error_of(body: bytes) -> dict[str, Any]:
    """The error of an answer, checked for its shape and for what it must not say."""
    text = body.decode()
    answer = json.loads(text)
    assert set(answer) == {"error"}
    error: dict[str, Any] = answer["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "details"}
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)
    for word in ("Traceback", "_rev", 'File "', "site-packages", SOURCES, "<html"):
        assert word not in text
    return error


async def test_everything_but_the_public_routes_needs_a_key(instance: Any) -> None:
    public = {rule for _, rule, endpoint in routes(instance.app) if endpoint in PUBLIC}
    assert public == STATIC
    checked = 0
    for method, rule, endpoint in routes(instance.app):
        if endpoint in PUBLIC:
            continue
        answer = await instance.ask(method, filled(rule, "x"), token=None)
        assert answer.status_code == 401, (method, rule)
        assert error_of(await answer.get_data())["code"] == "not_signed_in"
        assert "WWW-Authenticate" in answer.headers
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "\u00e9", "x" * 8000])
async def test_a_wrong_key_is_no_key(instance: Any, token: str) -> None:
    for scheme in ("Bearer ", "bearer ", "Basic ", "MOSAICFS-HMAC-SHA256 ", ""):
        headers = {"Authorization": (scheme + token).encode("latin-1").decode("latin-1")}
        answer = await instance.ask("GET", "/api/nodes", token=None, headers=headers)
        assert answer.status_code == 401, (scheme, token)


async def test_every_error_of_every_route_has_the_one_shape(instance: Any) -> None:
    for method, rule, _ in routes(instance.app):
        for value in ("x", "node-nobody-aaaa", "node-x.5c1e0000-0000-0000-0000-000000000000"):
            body = {} if method == "GET" else {"json": {"no such": "field"}}
            answer = await instance.ask(method, filled(rule, value) + "?no_such=query", **body)
            assert answer.status_code < 500 or answer.status_code == 503, (method, rule, value, await answer.get_data())
            if answer.status_code >= 400:
                error_of(await answer.get_data())


async def test_no_answer_shows_what_is_the_stores_own(instance: Any, tmp_path: Path) -> None:
    file_id = await instance.add_file(tmp_path / "tree" / "file.txt", b"x")
    values = {"node_id": instance.node_id, "file_id": file_id, "name": "localfs"}
    await instance.ask("POST", f"/api/nodes/{instance.node_id}/plugins", json={"plugin_name": "localfs"})
    await instance.ask("POST", "/api/credentials", json={"name": "key"})
    shown = 0
    for method, rule, endpoint in routes(instance.app):
        if method != "GET" or endpoint in ("openapi", "files.content") or not rule.startswith("/api/"):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values.get(match[1], "x"), rule)
        answer = await instance.ask("GET", path)
        text = (await answer.get_data()).decode()
        shown += answer.status_code == 200
        assert not re.search(r'"_(?:id|rev|deleted)"', text), path
        assert not re.search(r"\b(?:node|file|plugin|credential|status|dir)::", text), path
        assert str(tmp_path / "home") not in text, path
    assert shown >= 12


async def test_nothing_hostile_in_a_path_gets_anywhere(instance: Any) -> None:
    for method, rule, _ in routes(instance.app):
        if "<" not in rule:
            continue
        for value in HOSTILE:
            body = {} if method == "GET" else {"json": {}}
            answer = await instance.ask(method, filled(rule, value), **body)
            data = await answer.get_data()
            assert b"root:" not in data
            assert 400 <= answer.status_code < 500, (method, rule, value, answer.status_code)
            error_of(data)


async def test_nothing_hostile_in_a_query_gets_anywhere(instance: Any, tmp_path: Path) -> None:
    await instance.add_file(tmp_path / "tree" / "file.txt", b"x")
    description = json.loads(await (await instance.ask("GET", "/api/openapi.json")).get_data())
    asked = 0
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            given = {} if method == "get" else {"json": {}}
            for parameter in operation.get("parameters", ()):
                if parameter["in"] != "query":
                    continue
                for value in (*HOSTILE, *HOSTILE_VALUES):
                    address = f"{re.sub('{[^}]*}', 'x', path)}?{parameter['name']}={value}"
                    answer = await instance.ask(method.upper(), address, **given)
                    data = await answer.get_data()
                    assert answer.status_code < 500 or answer.status_code == 503, (method, address, data)
                    if answer.status_code >= 400:
                        error_of(data)
                    asked += 1
    assert asked > 500


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", "/api/nowhere", {}, 404, "not_found"),
        ("GET", "//api//health", {}, 404, "not_found"),
        ("PUT", "/api/health", {}, 405, "method_not_allowed"),
        ("POST", "/api/credentials", {"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "invalid"),
        (
            "POST",
            "/api/credentials",
            {"data": b"[" * 200_000, "headers": {"Content-Type": "application/json"}},
            400,
            "invalid",
        ),
        (
            "POST",
            "/api/credentials",
            {"data": b'"\\ud800"', "headers": {"Content-Type": "application/json"}},
            400,
            "invalid",
        ),
        (
            "POST",
            "/api/credentials",
            {"data": b"\xff", "headers": {"Content-Type": "application/json"}},
            400,
            "invalid",
        ),
        ("POST", "/api/credentials", {"json": []}, 400, "invalid"),
        ("POST", "/api/credentials", {}, 400, "invalid"),
        ("POST", "/api/credentials", {"form": {"name": "x"}}, 415, "unsupported_media_type"),
        ("POST", "/api/credentials", {"json": {"name": "x" * 3_000_000}}, 413, "too_large"),
        ("GET", "/api/files?limit=0", {}, 400, "invalid"),
        ("GET", "/api/files?limit=501", {}, 400, "invalid"),
        ("GET", "/api/files?offset=-1", {}, 400, "invalid"),
        ("GET", "/api/files?limit=ten", {}, 400, "invalid"),
    ],
)
async def test_the_frameworks_errors_have_it_too(
    instance: Any, method: str, path: str, given: dict[str, Any], status: int, code: str
) -> None:
    answer = await instance.ask(method, path, **given)
    assert answer.status_code == status
    assert error_of(await answer.get_data())["code"] == code
    if status == 405:
        assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": 7}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a", "nmae": "b"}, "nmae"),
        ({"name": "a", "kind": "king"}, "kind"),
    ],
)
async def test_a_validation_error_names_the_field(instance: Any, body: dict[str, Any], field: str) -> None:
    error = error_of(await (await instance.ask("POST", "/api/credentials", json=body)).get_data())
    assert error["details"] == {"field": field}
    assert error["message"].startswith(f"{field}: ")


@pytest.mark.logs("^unexpected error")
async def test_a_surprise_is_logged_and_named_by_an_id_alone(instance: Any, caplog: Any) -> None:
    async def broken() -> None:
        raise RuntimeError("secret inner workings at /home/user")

    instance.app.add_url_rule("/api/broken", "broken", broken)
    answer = await instance.ask("GET", "/api/broken")
    error = error_of(await answer.get_data())
    assert answer.status_code == 500
    assert "inner workings" not in error["message"]
    assert error["details"]["incident"] in caplog.text
    assert "secret inner workings" in caplog.text


async def test_every_answer_carries_the_protecting_headers(instance: Any) -> None:
    for path in ("/", "/api/docs", "/api/health", "/api/openapi.json", "/static/index.js", "/nowhere", "/api/nodes"):
        answer = await instance.ask("GET", path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert "frame-ancestors 'none'" in policy


async def test_the_description_covers_every_route_with_its_errors(instance: Any) -> None:
    answer = await instance.ask("GET", "/api/openapi.json", token=None)
    description = json.loads(await answer.get_data())
    assert description["openapi"].startswith("3.1")
    described, names = set(), []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            described.add((method.upper(), path))
            names.append(operation["operationId"])
            assert operation["summary"]
            assert {"400", "500"} <= set(operation["responses"])
            if operation["security"]:
                assert "401" in operation["responses"]
            assert any(code.startswith("2") for code in operation["responses"])
    assert len(names) == len(set(names))
    for method, rule, endpoint in routes(instance.app):
        if rule.startswith("/api/") and endpoint not in ("openapi", "pages.docs"):
            path = rule.replace("<path:", "{").replace("<", "{").replace(">", "}")
            assert (method, path) in described, (method, rule)
    text = json.dumps(description)
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in description["components"]["schemas"], reference


async def test_pages_ask_no_other_host_and_hold_no_inline_script(instance: Any) -> None:
    for path in ("/", "/api/docs", "/static/index.js", "/static/docs.js", "/static/style.css"):
        text = (await (await instance.ask("GET", path, token=None)).get_data()).decode()
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text
        assert "<script>" not in text
        assert "style=" not in text
        assert " onclick" not in text
        assert "innerHTML" not in text
