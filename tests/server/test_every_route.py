"""What holds for every route there is, plugins' included: a key is needed, errors have one shape, paths stay inside."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

import mosaicfs_core
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.auth.guard import PUBLIC
from mosaicfs_core.server.openapi import UNDESCRIBED
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing.harness import Harness, plugin_at

SOURCES = str(Path(mosaicfs_core.__file__).parent)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
EVERY_METHOD = (*METHODS, "HEAD", "OPTIONS", "TRACE", "BREW")
PUBLIC_WRITES = {"/api/auth/bootstrap": "POST", "/api/auth/login": "POST", "/api/auth/refresh": "POST"}
STRANGER = """
from quart import Blueprint, Response
from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Strange", description="A stranger's.", version="1", hook_api=HOOK_API)

@hookimpl
def mosaicfs_routes(app, context):
    blueprint = Blueprint("strange", __name__)

    @blueprint.get("/things/<name>")
    async def show(name):
        return Response(name)

    return [blueprint]
"""
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
    """Method, rule and endpoint of everything the app answers; WebSockets have tests of their own."""
    return sorted(
        (method, rule.rule, rule.endpoint)
        for rule in app.url_map.iter_rules()
        if not rule.websocket
        for method in (rule.methods or set()) & set(METHODS)
    )


def filled(rule: str, value: str) -> str:
    """The rule with every parameter replaced."""
    parts = [value if part.startswith("<") else part for part in rule.split("/")]
    return "/".join(parts)


def error_of(body: bytes) -> dict[str, Any]:
    """The error of an answer, checked for its shape and for what it must not say.

    The replication protocol has a shape of its own: ``{"error": name, "reason": text}``.
    """
    text = body.decode()
    answer = json.loads(text)
    if set(answer) == {"error", "reason"}:
        answer = {"error": {"code": answer["error"], "message": answer["reason"]}}
    assert set(answer) == {"error"}
    error: dict[str, Any] = answer["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "details"}
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)
    for word in ("Traceback", "_rev", 'File "', "site-packages", SOURCES, "<html"):
        assert word not in text
    return error


async def refused_without_a_key(app: Any, method: str, path: str) -> None:
    """Check that an address says nothing to somebody without a key, whatever the method."""
    scope = {"client": ("127.0.0.1", 50000)}
    answer = await app.test_client().open(path, method=method, scope_base=scope)
    assert answer.status_code == 401, (method, path)
    assert "WWW-Authenticate" in answer.headers
    assert error_of(await answer.get_data())["code"] in ("unauthorized", "not_signed_in")
    assert "Allow" not in answer.headers


async def test_everything_but_the_public_routes_needs_a_key(instance: Any) -> None:
    rules = [*instance.app.url_map.iter_rules()]
    assert {rule.rule for rule in rules if rule.endpoint in PUBLIC} == STATIC
    closed = {filled(rule.rule, "x") for rule in rules if rule.endpoint not in PUBLIC}
    assert closed > {"/db", "/db/mosaicfs/_changes", "/api/agent/link", "/api/agent/heartbeat", "/api/labels/rules/x"}
    for path in closed:
        for method in EVERY_METHOD:
            await refused_without_a_key(instance.app, method, path)


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/nowhere", "/api/x/plugin", "/db/", "/db/other", "/db/mosaicfs/a/b/c", "/api//nodes"],
)
async def test_nobody_learns_without_a_key_what_is_not_there(instance: Any, path: str) -> None:
    for method in EVERY_METHOD:
        await refused_without_a_key(instance.app, method, path)


async def test_a_public_address_takes_its_own_method_alone(instance: Any) -> None:
    for path, method in PUBLIC_WRITES.items():
        answer = await instance.ask("OPTIONS", path, token=None)
        assert answer.status_code == 200
        assert set(answer.headers["Allow"].split(", ")) == {method, "OPTIONS"}
        for other in set(EVERY_METHOD) - {method, "OPTIONS"}:
            await refused_without_a_key(instance.app, other, path)


async def test_routes_of_strangers_plugins_need_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(str(tmp_path))
    async with (
        Harness.start(tmp_path / "home", plugins=[plugin_at("strange", "stranger")]) as harness,
        running_app(harness.core) as app,
    ):
        assert (await app.test_client().get("/api/x/strange/things/7")).status_code == 401
        for path in ("/api/x/strange/things/7", "/api/x/strange", "/api/x/strange/nothing"):
            for method in EVERY_METHOD:
                await refused_without_a_key(app, method, path)
        with_key = {"Authorization": f"Bearer {app.extensions[EXTENSION].local_token}"}
        scope = {"client": ("127.0.0.1", 50000)}
        answer = await app.test_client().get("/api/x/strange/things/7", headers=with_key, scope_base=scope)
        assert (answer.status_code, await answer.get_data()) == (200, b"7")


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
            if rule.startswith("/db/") and "_local/" in rule and answer.status_code < 300:
                continue  # the name of a local document is any text, and nothing but a key
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
        ("PUT", "/api/nodes", {"data": b"x", "headers": {"Content-Type": "text/plain"}}, 405, "method_not_allowed"),
        ("PUT", "/api/nowhere", {"data": b"x", "headers": {"Content-Type": "text/plain"}}, 404, "not_found"),
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


@pytest.mark.parametrize("body", [{"name": "a", "kind": "k" * 1_000_000}, {"n" * 1_000_000: "a"}])
async def test_an_error_does_not_repeat_a_long_value_whole(instance: Any, body: dict[str, Any]) -> None:
    answer = await instance.ask("POST", "/api/credentials", json=body)
    data = await answer.get_data()
    assert answer.status_code == 400
    assert len(data) < 10_000
    assert error_of(data)["message"].endswith("…")


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
    for rule in instance.app.url_map.iter_rules():
        if rule.rule in UNDESCRIBED or rule.rule.startswith("/db/"):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in rule.methods - {"HEAD", "OPTIONS"}:
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
