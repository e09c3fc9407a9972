"""Beyond loopback the server speaks TLS, with a certificate of its own authority that it renews by itself."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mosaicfs_core.config import Config, ServerConfig
from mosaicfs_core.errors import ConfigError, UserError
from mosaicfs_core.home import Home
from mosaicfs_core.security import certificates
from mosaicfs_core.security.addresses import host_names, machine_addresses
from mosaicfs_core.security.authority import Authority, ServerCertificate, client_context
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.serve import bind, serving
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.server.tls import Tls, names_for
from mosaicfs_core.testing.harness import Harness


def test_without_tls_nothing_is_served_to_the_network() -> None:
    with pytest.raises(ConfigError, match=r"server\.tls is off"):
        bind(ServerConfig(host="0.0.0.0", port=0, tls="off"))
    bind(ServerConfig(host="127.0.0.1", port=0, tls="off")).close()


async def test_on_every_address_it_speaks_tls_and_the_command_line_here_finds_it(tmp_path: Path) -> None:
    config = ServerConfig(host="0.0.0.0", port=0, names=("nas.example", "192.0.2.7"))
    listener = bind(config)
    async with Harness.start(tmp_path / "home", safe_mode=True) as harness:
        harness.core.config = msgspec.structs.replace(Config(), server=config)
        async with running_app(harness.core) as app, serving(app, listener, harness.home) as url:
            endpoint = json.loads(harness.home.endpoint_file.read_text())
            assert endpoint["url"] == f"https://127.0.0.1:{listener.getsockname()[1]}"
            assert url.startswith("https://")
            token = app.extensions[EXTENSION].local_token
            local = PlainRequests(endpoint["url"], {"Authorization": f"Bearer {token}"}, endpoint["ca"])
            async with local.request("GET", "/api/auth/whoami") as answer:
                assert (await answer.json())["kind"] == "local"
            await local.close()
            # The machine's own address is as good as loopback for the machine itself, and for nobody else.
            for address in [one for one in machine_addresses() if ":" not in one][:1]:
                own = PlainRequests(f"https://{address}:{listener.getsockname()[1]}", {}, endpoint["ca"])
                headers = {"Authorization": f"Bearer {token}"}
                async with own.request("GET", "/api/auth/whoami", headers=headers) as answer:
                    assert answer.status == 200
                await own.close()
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientError):
                    await session.get(endpoint["url"].replace("https", "http"))
            found = ServerCertificate(harness.home).present()
            assert found is not None
            expected = {"localhost", "127.0.0.1", "::1", "control-plane", "nas.example", "192.0.2.7"}
            assert expected | set(host_names()) | set(machine_addresses()) <= certificates.names_of(found)


def test_the_certificate_is_renewed_before_it_ends_and_the_authority_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    config = ServerConfig(host="127.0.0.1", tls="on")
    now = datetime.datetime.now(datetime.UTC)
    tls = Tls(home, config, "control-plane-x-aaaa")
    fingerprint, first = tls.authority.fingerprint, (home.certs_dir / "server.pem").read_bytes()
    assert not tls.refresh()
    assert Tls(home, config, "control-plane-x-aaaa").authority.fingerprint == fingerprint
    later = now + datetime.timedelta(days=certificates.SERVER_DAYS - certificates.RENEW_BEFORE_DAYS + 1)
    certificate = ServerCertificate(home)
    assert not certificate.is_good(tls.authority.certificate, now=later)
    assert certificate.ensure(Authority.of_home(home, clock=lambda: later), ["localhost"], clock=lambda: later)
    assert (home.certs_dir / "server.pem").read_bytes() != first
    # A name that was added, or an authority that is not the one: made anew at the next start.
    assert certificate.ensure(tls.authority, ["localhost", "nas.lan"])
    assert not certificate.ensure(tls.authority, ["nas.lan"])
    for file in home.certs_dir.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_an_authority_that_lost_a_part_is_not_made_anew(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    made = Authority.of_home(home)
    key = (home.certs_dir / "ca.key").read_bytes()
    (home.certs_dir / "ca.key").unlink()
    with pytest.raises(UserError, match="recovery kit"):
        Authority.of_home(home)
    (home.certs_dir / "ca.key").write_bytes(certificates.key_pem(certificates.new_key()))
    with pytest.raises(UserError, match="do not belong together"):
        Authority.of_home(home)
    (home.certs_dir / "ca.key").write_bytes(key)
    assert Authority.of_home(home).fingerprint == made.fingerprint
    (home.certs_dir / "ca.key").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="damaged"):
        Authority.of_home(home)


@pytest.mark.parametrize("given", ["", "AB", "ü" * 64, "AB:" * 32 + "CD"])
def test_what_is_no_fingerprint_is_told(tmp_path: Path, given: str) -> None:
    authority = Authority.of_home(Home(tmp_path / "home").prepare())
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        certificates.same_fingerprint(given, authority.certificate)


def test_a_fingerprint_may_be_written_as_people_do(tmp_path: Path) -> None:
    authority = Authority.of_home(Home(tmp_path / "home").prepare())
    shown = authority.fingerprint
    for form in (
        shown,
        shown.lower(),
        shown.replace(":", ""),
        f"SHA256:{shown}",
        f"sha256 Fingerprint={shown}",
        f" {shown} ",
    ):
        assert certificates.same_fingerprint(form, authority.certificate), form
    other = shown[:-1] + ("0" if shown[-1] != "0" else "1")
    assert not certificates.same_fingerprint(other, authority.certificate)


def test_names_are_such_that_a_certificate_can_be_for(tmp_path: Path) -> None:
    names = names_for(ServerConfig(names=("NAS.example", "bad_name", "192.0.2.1")), "control-plane-x-aaaa")
    assert names[0] == "control-plane-x-aaaa"
    assert "nas.example" in names
    assert "bad_name" not in names
    with pytest.raises(UserError, match="damaged"):
        client_context("nonsense")


async def test_a_request_that_needs_another_key_is_refused(instance: Any) -> None:
    for header in ("MOSAICFS-HMAC-SHA256", "MOSAICFS-HMAC-SHA256 AccessKeyId=x", "mosaicfs-hmac-sha256 \x01"):
        answer = await instance.ask("GET", "/api/nodes", token=None, headers={"Authorization": header})
        assert answer.status_code == 401


async def test_a_caller_that_still_sends_when_its_connection_is_closed_leaves_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = ServerConfig(port=0, tls="on")
    listener = bind(config)
    port = listener.getsockname()[1]
    async with Harness.start(tmp_path / "home", safe_mode=True) as harness:
        harness.core.config = msgspec.structs.replace(Config(), server=config)
        async with running_app(harness.core) as app, serving(app, listener, harness.home):
            trusted = client_context(app.extensions[EXTENSION].identity.authority.pem)
            trusted.set_alpn_protocols(["http/1.1"])
            for _ in range(3):
                await asyncio.to_thread(_ask_and_send_on, port, trusted)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def _ask_and_send_on(port: int, trusted: ssl.SSLContext) -> None:
    asked = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    plain = socket.create_connection(("127.0.0.1", port))
    with suppress(OSError), plain, trusted.wrap_socket(plain, server_hostname="localhost") as secure:
        secure.sendall(asked)
        assert secure.recv(12) == b"HTTP/1.1 200"
        for _ in range(200):
            secure.sendall(b"x" * 1000)
            time.sleep(0.001)
