"""Protects the key of a hub: a foreign replicator replicates everything with its id as name and its secret as password,
and can do nothing else with them; they are taken where nobody can read them, and checked once."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from mosaicfs_core.server.auth import keys
from mosaicfs_core.server.auth.remembered import MAX_REMEMBERED, Remembered

ELSEWHERE = "192.0.2.7"


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(name, secret)}


async def made(instance: Any, kind: str = "hub") -> tuple[str, str]:
    """A new key: its id and its secret."""
    answer = await instance.ask("POST", "/api/credentials", json={"name": "a shelf", "kind": kind})
    body = await answer.get_json()
    assert (answer.status_code, body["kind"]) == (201, kind)
    return body["access_key_id"], body["secret_key"]


async def status(instance: Any, path: str, headers: dict[str, str], **given: Any) -> int:
    found: int = (await instance.ask("GET", path, token=None, headers=headers, **given)).status_code
    return found


async def test_it_opens_the_replica_and_nothing_else(instance: Any) -> None:
    key, secret = await made(instance)
    for path in ("/db", "/db/", "/db/mosaicfs", "/db/mosaicfs/_changes"):
        assert await status(instance, path, basic(key, secret)) == 200
    document = await (await instance.ask("GET", f"/api/credentials/{key}")).get_json()
    assert (document["kind"], document["permissions"]) == ("hub", {"scope": "hub"})
    for path in ("/api/nodes", "/api/auth/whoami", "/dbx"):
        assert await status(instance, path, basic(key, secret)) in (401, 404)
    login = {"access_key_id": key, "secret_key": secret}
    assert (await instance.ask("POST", "/api/auth/login", json=login)).status_code == 403


async def test_it_writes_everything(instance: Any) -> None:
    key, secret = await made(instance)
    thing = {"_id": "future::1", "type": "future", "_rev": f"1-{'a' * 32}"}
    body = {"docs": [thing], "new_edits": False}
    answer = await instance.ask("POST", "/db/mosaicfs/_bulk_docs", token=None, headers=basic(key, secret), json=body)
    assert (answer.status_code, await answer.get_json()) == (201, [])
    path = "/db/mosaicfs/_local/mine"
    kept = await instance.ask("PUT", path, token=None, headers=basic(key, secret), json={"at": "7-g1AAAA"})
    assert kept.status_code == 201
    assert await status(instance, path, basic(key, secret)) == 200
    other = await made(instance)
    assert await status(instance, path, basic(*other)) == 404


@pytest.mark.parametrize("kind", ["user", "agent"])
async def test_no_other_key_is_taken_with_a_password(instance: Any, kind: str) -> None:
    key, secret = await made(instance, kind)
    assert await status(instance, "/db/mosaicfs", basic(key, secret)) == 403


async def test_a_password_is_not_taken_where_it_can_be_read(instance: Any) -> None:
    key, secret = await made(instance)
    assert await status(instance, "/db/mosaicfs", basic(key, secret), address=ELSEWHERE) == 403
    assert await status(instance, "/db/mosaicfs", basic(key, secret), address=ELSEWHERE, scheme="https") == 200


async def test_what_does_not_hold_is_refused_and_counted(instance: Any) -> None:
    key, secret = await made(instance)
    for given in (basic(key, "wrong"), basic("MOSAICFS_0123456789abcdef", secret), basic("x", ""), basic(key, "")):
        assert await status(instance, "/db/mosaicfs", given) == 401
    for unreadable in ("Basic", "Basic %%%", "Basic bm9jb2xvbg=="):
        assert await status(instance, "/db/mosaicfs", {"Authorization": unreadable}) == 401
    tried = [await status(instance, "/db/mosaicfs", basic(key, f"wrong {number}")) for number in range(25)]
    assert (tried[0], tried[-1]) == (401, 429)
    assert await status(instance, "/db/mosaicfs", basic(*await made(instance))) == 200


async def test_it_ends_with_its_key(instance: Any) -> None:
    key, secret = await made(instance)
    assert await status(instance, "/db/mosaicfs", basic(key, secret)) == 200
    await instance.ask("DELETE", f"/api/credentials/{key}")
    assert await status(instance, "/db/mosaicfs", basic(key, secret)) == 401
    await instance.ask("PATCH", f"/api/credentials/{key}", json={"enabled": True})
    assert await status(instance, "/db/mosaicfs", basic(key, secret)) == 200


async def test_a_secret_is_checked_once(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = await made(instance)
    checked: list[str] = []
    real = keys.verify_secret
    monkeypatch.setattr(keys, "verify_secret", lambda phc, given: (checked.append(given), real(phc, given))[1])
    for _ in range(5):
        assert await status(instance, "/db/mosaicfs", basic(key, secret)) == 200
    assert len(checked) == 1
    assert await status(instance, "/db/mosaicfs", basic(key, secret + "x")) == 401
    assert len(checked) == 2


def test_only_so_many_secrets_are_remembered_and_none_for_another_hash() -> None:
    remembered = Remembered()
    for number in range(MAX_REMEMBERED + 1):
        remembered.remember(f"key {number}", "secret", "hash")
    assert not remembered.holds("key 0", "secret", "hash")
    assert remembered.holds("key 1", "secret", "hash")
    assert not remembered.holds("key 1", "secret", "another hash")
    assert not remembered.holds("key 1", "another", "hash")


async def test_a_couchdb_is_told_that_there_are_no_sessions(instance: Any) -> None:
    """Its replicator asks for one first, and takes 404 alone for an answer that lets it go on with the password."""
    form = {"name": "MOSAICFS_0123456789abcdef", "password": "x"}
    answer = await instance.ask("POST", "/_session", token=None, form=form)
    assert answer.status_code == 404
