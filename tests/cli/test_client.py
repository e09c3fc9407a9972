"""Protects the REST client: where it finds the instance, what it sends, and how error answers become errors."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mosaicfs_core.cli import client
from mosaicfs_core.cli.client import Endpoint, HttpApi, Unreachable, find_endpoint
from mosaicfs_core.errors import (
    ConfigError,
    Conflict,
    MosaicError,
    NotAllowed,
    NotFound,
    NotSignedIn,
    PluginError,
    Stale,
    Unavailable,
    UserError,
)
from mosaicfs_core.home import Home
from mosaicfs_core.security import signatures, user_keys


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers what the path says and remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.asked.append(
            {
                "method": self.command,
                "path": self.path,
                "authorization": self.headers.get("Authorization"),
                "if_match": self.headers.get("If-Match"),
                "body": json.loads(body) if body else None,
            }
        )
        if self.path.startswith("/api/error/"):
            status = int(self.path.rsplit("/", 1)[1])
            self._send(status, {"error": {"code": "a_code", "message": "a message", "details": {"field": "f"}}})
        elif self.path == "/api/plugin":
            details = {"plugin": "x", "hook": "mosaicfs_crawl"}
            self._send(502, {"error": {"code": "plugin_failed", "message": "x failed", "details": details}})
        elif self.path == "/api/html":
            self._send_raw(500, b"<html>")
        elif self.path == "/api/sick":
            self._send(503, {"status": "unhealthy", "subsystems": {"store": {"status": "unhealthy"}}})
        elif self.path == "/api/empty":
            self._send_raw(204, b"")
        elif self.path.startswith("/api/bytes"):
            self._send_raw(200, b"x" * 3_000_000)
        elif self.path == "/api/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            self.close_connection = True
        else:
            self._send(200, {"ok": True})

    def _send(self, status: int, body: Any) -> None:
        self._send_raw(status, json.dumps(body).encode())

    def _send_raw(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.path.startswith("/api/tagged"):
            self.send_header("ETag", '"version 1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def api(url: str) -> Iterator[HttpApi]:
    made = HttpApi(Endpoint(url, token="a-token"))
    yield made
    made.close()


def test_requests_carry_the_token_the_body_and_encoded_parameters(api: HttpApi) -> None:
    assert api.get("files", q="a b&c", label=["x", "y"], none=None, inline=True) == {"ok": True}
    assert api.send("PATCH", "/nodes/a b/plugins/x", {"enabled": True}) == {"ok": True}
    assert api.send("DELETE", "empty") is None
    get, patch, _ = Handler.asked
    assert get["path"] == "/api/files?q=a+b%26c&label=x&label=y&inline=1"
    assert get["authorization"] == "Bearer a-token"
    assert (patch["path"], patch["body"]) == ("/api/nodes/a%20b/plugins/x", {"enabled": True})


def test_a_change_names_the_version_that_was_read(api: HttpApi) -> None:
    body, etag = api.get_with_etag("tagged", q="a")
    assert (body, etag) == ({"ok": True}, '"version 1"')
    api.send("PATCH", "tagged", {}, if_match=etag, q="a")
    assert api.get_with_etag("files")[1] is None
    with pytest.raises(Stale):
        api.get_with_etag("error/412")
    assert [asked.get("if_match") for asked in Handler.asked] == [None, '"version 1"', None, None]
    assert Handler.asked[1]["path"] == "/api/tagged?q=a"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UserError),
        (401, NotSignedIn),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (412, Stale),
        (503, Unavailable),
        (500, MosaicError),
    ],
)
def test_error_answers_become_errors(api: HttpApi, status: int, kind: type[MosaicError]) -> None:
    with pytest.raises(kind, match="a message") as caught:
        api.get(f"error/{status}")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.details) == ("a_code", {"field": "f"})


def test_plugin_errors_and_answers_that_are_no_json(api: HttpApi) -> None:
    with pytest.raises(PluginError) as caught:
        api.get("plugin")
    assert (caught.value.plugin, caught.value.hook) == ("x", "mosaicfs_crawl")
    with pytest.raises(MosaicError, match="the server answered 500"):
        api.get("html")


def test_a_download_replaces_its_target_only_when_it_is_whole(api: HttpApi, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    seen: list[tuple[int, int]] = []
    assert api.download("bytes", target, lambda done, total: seen.append((done, total)), inline=1) == 3_000_000
    assert target.stat().st_size == 3_000_000
    assert seen[-1] == (3_000_000, 3_000_000)
    with pytest.raises(Unreachable):
        api.download("cut", target)
    with pytest.raises(NotFound):
        api.download("error/404", target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert target.stat().st_size == 3_000_000


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="cannot be reached: Connection refused"):
        HttpApi(Endpoint("http://127.0.0.1:9")).get("health")
    with pytest.raises(UserError, match="not the address of an instance"):
        HttpApi(Endpoint("ftp://x")).get("health")


def test_a_killed_instance_is_not_running(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    gone = HttpApi(Endpoint(f"http://127.0.0.1:{port}", "local", home=tmp_path))
    with pytest.raises(Unreachable, match="start it with: mosaicfs up"):
        gone.get("health")


@pytest.mark.parametrize("secret", [{"credentials": ("MOSAICFS_0123456789abcdef", "mosaicfs_secret")}, {"token": "t"}])
def test_no_secret_goes_unencrypted_to_another_machine(
    url: str, secret: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "is_loopback", lambda address: False)
    api = HttpApi(Endpoint(url, **secret))
    for _ in range(2):
        with pytest.raises(UserError, match="https://"):
            api.get("a")
    assert Handler.asked == []
    open_to_all = HttpApi(Endpoint(url))
    assert open_to_all.get("a") == {"ok": True}
    open_to_all.close()


def test_what_an_unhealthy_instance_says_is_kept(api: HttpApi) -> None:
    with pytest.raises(Unavailable, match="answered 503") as caught:
        api.get("sick")
    assert caught.value.details["answer"]["status"] == "unhealthy"


def test_an_access_key_signs_every_request_and_its_secret_is_not_sent(url: str) -> None:
    key_id, secret = "MOSAICFS_0123456789abcdef", "mosaicfs_" + "s" * 43
    api = HttpApi(Endpoint(url, credentials=(key_id, secret)))
    api.get("a b", q="x y")
    api.send("POST", "b", {"name": "ü"})
    api.close()
    key = user_keys.derive_signing_key(key_id, secret)
    bodies = [b"", json.dumps({"name": "ü"}).encode()]
    nonces = set()
    for asked, body in zip(Handler.asked, bodies, strict=True):
        claim = signatures.parse(asked["authorization"])
        target = signatures.Target(
            method=asked["method"],
            destination="control-plane",
            path=asked["path"],
            body_sha256=signatures.sha256_of(body),
        )
        assert signatures.holds(key, claim, target)
        nonces.add(claim.nonce)
    assert len(nonces) == 2
    assert secret not in str(Handler.asked)


def test_a_secret_that_is_nowhere_is_asked_for_on_a_terminal_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = HttpApi(Endpoint(url, credentials=("MOSAICFS_0123456789abcdef", None)))
    with open("/dev/null") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(UserError, match="set MOSAICFS_SECRET_KEY"):
            api.get("a")
    api.close()
    assert Handler.asked == []


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home").prepare()
    made.endpoint_file.write_text('{"url": "http://127.0.0.1:1234"}')
    made.local_token_file.write_text("local\n")
    return made


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), **variables}


def write_config(tmp_path: Path, text: str, mode: int = 0o600) -> None:
    file = tmp_path / "config" / "mosaicfs" / "cli.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    file.chmod(mode)


def test_the_instance_of_the_home_is_found_without_configuration(home: Home, tmp_path: Path) -> None:
    assert find_endpoint(home, environment(tmp_path)) == Endpoint("http://127.0.0.1:1234", "local", home=home.path)
    with pytest.raises(Unreachable, match="start it with: mosaicfs up"):
        find_endpoint(Home(tmp_path / "empty"), environment(tmp_path))


def test_the_environment_comes_before_the_file_and_the_file_before_the_home(home: Home, tmp_path: Path) -> None:
    write_config(tmp_path, 'url = "https://far:1"\naccess_key_id = "K"\nsecret_key = "S"\n')
    assert find_endpoint(home, environment(tmp_path)) == Endpoint("https://far:1", None, ("K", "S"))
    there = environment(tmp_path, MOSAICFS_URL="http://other", MOSAICFS_SECRET_KEY="T")
    assert find_endpoint(home, there) == Endpoint("http://other", None, ("K", "T"))


def test_the_local_token_goes_to_the_local_instance_alone(home: Home, tmp_path: Path) -> None:
    elsewhere = environment(tmp_path, MOSAICFS_URL="http://elsewhere")
    assert find_endpoint(home, elsewhere).token is None
    here = environment(tmp_path, MOSAICFS_URL="http://127.0.0.1:1234/")
    assert find_endpoint(home, here).token == "local"


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("url = 7", 0o600, "url: expected a text"),
        ("adress = 'x'", 0o600, "adress: expected a text under one of url"),
        ("url = ", 0o600, "expected valid TOML"),
        ("secret_key = 's'", 0o644, "chmod 600"),
    ],
)
def test_a_wrong_configuration_is_named(home: Home, tmp_path: Path, text: str, mode: int, problem: str) -> None:
    write_config(tmp_path, text, mode)
    with pytest.raises(ConfigError, match=problem):
        find_endpoint(home, environment(tmp_path))


def test_a_damaged_endpoint_file_says_so(home: Home, tmp_path: Path) -> None:
    home.endpoint_file.write_text("{}")
    with pytest.raises(Unreachable, match="damaged"):
        find_endpoint(home, environment(tmp_path))
