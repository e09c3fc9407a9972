"""Signing in through the API: links, keys, cookies, limits, and what ends a session."""

from __future__ import annotations

import asyncio
import json
import threading
from http.cookies import SimpleCookie
from typing import Any

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.security import user_keys
from mosaicfs_core.security.revocations import next_revocation
from mosaicfs_core.server.auth import credentials, keys
from mosaicfs_core.server.auth.revocations import disabled
from mosaicfs_core.server.auth.sessions import REUSE_GRACE_SECONDS


async def body_of(answer: Any) -> Any:
    return json.loads(await answer.get_data())


def cookie_of(answer: Any) -> Any:
    """The refresh cookie that an answer sets."""
    return SimpleCookie(answer.headers["Set-Cookie"])["mosaicfs_refresh"]


async def sign_in(instance: Any) -> tuple[dict[str, Any], str]:
    """Open a fresh login link; the session and the cookie's value."""
    link = await body_of(await instance.ask("POST", "/api/auth/link"))
    token = link["token"]
    instance.client.cookie_jar.clear()
    answer = await instance.ask("POST", "/api/auth/bootstrap", token=None, json={"token": token})
    assert answer.status_code == 200
    instance.client.cookie_jar.clear()
    return await body_of(answer), cookie_of(answer).value


async def refresh(instance: Any, cookie: str, **headers: str) -> Any:
    answer = await instance.ask(
        "POST", "/api/auth/refresh", token=None, headers={"Cookie": f"mosaicfs_refresh={cookie}", **headers}
    )
    instance.client.cookie_jar.clear()
    return answer


async def test_the_link_of_a_fresh_instance_makes_the_first_key_and_signs_in_once(instance: Any) -> None:
    link = await body_of(await instance.ask("POST", "/api/auth/link"))
    token = link["token"]
    answer = await instance.ask("POST", "/api/auth/bootstrap", token=None, json={"token": token})
    session = await body_of(answer)
    created = session["created"]
    assert created["access_key_id"] == session["access_key_id"]
    me = await body_of(await instance.ask("GET", "/api/auth/whoami", token=session["access_token"]))
    assert (me["kind"], me["name"], me["access_key_id"]) == ("user", "Owner", created["access_key_id"])
    again = await instance.ask("POST", "/api/auth/bootstrap", token=None, json={"token": token})
    assert again.status_code == 401

    later, _ = await sign_in(instance)
    assert "created" not in later
    assert later["access_key_id"] == created["access_key_id"]

    login = await instance.ask("POST", "/api/auth/login", token=None, json=created)
    assert login.status_code == 200


async def test_the_cookie_is_kept_from_scripts_and_other_sites(instance: Any) -> None:
    link = await body_of(await instance.ask("POST", "/api/auth/link"))
    body = {"token": link["token"]}
    cookie = cookie_of(await instance.ask("POST", "/api/auth/bootstrap", token=None, json=body))
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["path"] == "/api/auth"
    assert not cookie["secure"]  # plain HTTP, which is served on loopback alone


async def test_only_the_owner_on_the_machine_makes_links(instance: Any) -> None:
    session, _ = await sign_in(instance)
    assert (await instance.ask("POST", "/api/auth/link", token=session["access_token"])).status_code == 403


async def test_the_local_token_counts_on_loopback_alone(instance: Any) -> None:
    assert (await instance.ask("GET", "/api/nodes", address="::1")).status_code == 200
    for address in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", ""):
        assert (await instance.ask("GET", "/api/nodes", address=address)).status_code == 403
    forged = {"Remote-Addr": "127.0.0.1", "X-Forwarded-For": "127.0.0.1"}
    assert (await instance.ask("GET", "/api/nodes", address="192.0.2.1", headers=forged)).status_code == 403
    file = instance.harness.home.local_token_file
    assert file.read_text() == instance.server.local_token
    assert file.stat().st_mode & 0o777 == 0o600


async def test_refreshing_rotates_the_cookie_and_reuse_ends_the_session(instance: Any, monkeypatch: Any) -> None:
    session, first = await sign_in(instance)
    answer = await refresh(instance, first)
    second = cookie_of(answer).value
    assert second != first
    assert (await refresh(instance, first)).status_code == 409
    real = instance.server.sessions._clock
    monkeypatch.setattr(instance.server.sessions, "_clock", lambda: real() + REUSE_GRACE_SECONDS + 1)
    assert (await refresh(instance, first)).status_code == 401
    assert (await refresh(instance, second)).status_code == 401
    assert (await instance.ask("GET", "/api/nodes", token=session["access_token"])).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_no_other_site_uses_the_cookie(instance: Any, headers: dict[str, str]) -> None:
    _, cookie = await sign_in(instance)
    assert (await refresh(instance, cookie, **headers)).status_code == 403
    assert (await refresh(instance, cookie, **{"Sec-Fetch-Site": "same-origin"})).status_code == 200


async def test_signing_out_ends_the_token_and_the_cookie(instance: Any) -> None:
    session, cookie = await sign_in(instance)
    answer = await instance.ask("POST", "/api/auth/logout", token=session["access_token"])
    assert answer.status_code == 200
    assert (await instance.ask("GET", "/api/nodes", token=session["access_token"])).status_code == 401
    assert (await refresh(instance, cookie)).status_code == 401


async def test_a_disabled_key_is_out_at_once(instance: Any) -> None:
    session, cookie = await sign_in(instance)
    key = session["access_key_id"]
    answer = await instance.ask("DELETE", f"/api/credentials/{key}")
    assert (await body_of(answer))["enabled"] is False
    assert (await instance.ask("GET", "/api/nodes", token=session["access_token"])).status_code == 401
    assert (await refresh(instance, cookie)).status_code == 401
    assert (await instance.ask("GET", f"/api/credentials/{key}")).status_code == 200


@pytest.mark.parametrize("taken_back", [False, True])
async def test_a_key_that_another_control_plane_disabled_is_out_for_good(instance: Any, taken_back: bool) -> None:
    """It arrives by replication, maybe together with being enabled again: no session of before opens anything."""
    session, cookie = await sign_in(instance)
    identifier = ids.credential_document_id(session["access_key_id"])

    def elsewhere(document: Any) -> Any:
        found = disabled(document, next_revocation(instance.server.revocation_key, document))
        return {**found, "enabled": True} if taken_back else found

    await instance.harness.store.update(identifier, elsewhere)
    assert (await instance.ask("GET", "/api/nodes", token=session["access_token"])).status_code == 401
    await instance.harness.store.update(identifier, lambda document: {**document, "enabled": True})
    assert (await instance.ask("GET", "/api/nodes", token=session["access_token"])).status_code == 401
    assert (await refresh(instance, cookie)).status_code == 401
    again, cookie = await sign_in(instance)
    assert again["access_key_id"] == session["access_key_id"]
    assert (await instance.ask("GET", "/api/nodes", token=again["access_token"])).status_code == 200
    assert (await refresh(instance, cookie)).status_code == 200


async def test_signing_in_is_noted_here_and_not_in_the_document(instance: Any) -> None:
    """A document that every sign-in wrote would be in conflict with itself at the next control plane."""
    session, _ = await sign_in(instance)
    key = session["access_key_id"]
    before = await instance.harness.store.get(ids.credential_document_id(key))
    again, _ = await sign_in(instance)
    assert again["access_key_id"] == key
    assert await instance.harness.store.get(ids.credential_document_id(key)) == before
    assert "last_seen" not in before
    shown = await body_of(await instance.ask("GET", f"/api/credentials/{key}"))
    assert shown["last_seen"] >= shown["created_at"][:19]


@pytest.mark.parametrize("wrong", ["secret", "key", "both", "disabled", "form"])
async def test_a_wrong_login_says_the_same_whatever_is_wrong(instance: Any, wrong: str) -> None:
    made = await body_of(await instance.ask("POST", "/api/credentials", json={"name": "script"}))
    body = {"access_key_id": made["id"], "secret_key": made["secret_key"]}
    if wrong in ("secret", "both"):
        body["secret_key"] = keys.new_secret_key()
    if wrong in ("key", "both"):
        body["access_key_id"] = ids.new_access_key_id()
    if wrong == "form":
        body["access_key_id"] = "credential::*"
    if wrong == "disabled":
        await instance.ask("PATCH", f"/api/credentials/{made['id']}", json={"enabled": False})
    answer = await instance.ask("POST", "/api/auth/login", token=None, json=body)
    assert answer.status_code == 401
    message = (await body_of(answer))["error"]["message"]
    assert message == "the access key id or the secret is wrong, or the key was disabled"


async def test_too_many_attempts_are_told_to_wait(instance: Any) -> None:
    body = {"access_key_id": ids.new_access_key_id(), "secret_key": "x"}
    statuses = []
    for _ in range(8):
        answer = await instance.ask("POST", "/api/auth/login", token=None, json=body, address="192.0.2.9")
        statuses.append(answer.status_code)
    assert statuses == [401] * 5 + [429] * 3
    assert int(answer.headers["Retry-After"]) >= 1
    elsewhere = await instance.ask("POST", "/api/auth/login", token=None, json=body, address="192.0.2.10")
    assert elsewhere.status_code == 401


async def test_another_user_of_the_machine_cannot_lock_its_owner_out(instance: Any) -> None:
    made = await body_of(await instance.ask("POST", "/api/credentials", json={"name": "mine", "kind": "user"}))
    for _ in range(30):
        body = {"access_key_id": ids.new_access_key_id(), "secret_key": "x"}
        assert (await instance.ask("POST", "/api/auth/login", token=None, json=body)).status_code == 401
        await instance.ask("POST", "/api/auth/bootstrap", token=None, json={"token": "guessed"})
    body = {"access_key_id": made["id"], "secret_key": made["secret_key"]}
    assert (await instance.ask("POST", "/api/auth/login", token=None, json=body)).status_code == 200
    await sign_in(instance)


async def test_an_agents_key_opens_no_session(instance: Any) -> None:
    made = await body_of(await instance.ask("POST", "/api/credentials", json={"name": "laptop", "kind": "agent"}))
    body = {"access_key_id": made["id"], "secret_key": made["secret_key"]}
    answer = await instance.ask("POST", "/api/auth/login", token=None, json=body)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


async def test_disabling_a_key_ends_its_sessions_though_nobody_waits_for_it(instance: Any) -> None:
    session, _ = await sign_in(instance)
    key, store = session["access_key_id"], instance.harness.store
    busy = threading.Event()
    instance.server.sessions._thread.submit(busy.wait, 30)
    async with instance.app.test_request_context("/", method="PATCH"):
        waiting = asyncio.create_task(credentials.change(instance.server, key, {"enabled": False}))
    async for change in store.changes(store.seq, live=True, types={"credential"}, include_docs=True):
        if change.doc["enabled"] is False:
            break
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    busy.set()
    await asyncio.gather(*instance.server.background)
    assert (await instance.ask("PATCH", f"/api/credentials/{key}", json={"enabled": True})).status_code == 200
    assert (await instance.ask("GET", "/api/auth/whoami", token=session["access_token"])).status_code == 401


async def test_a_credential_shows_its_secret_once_and_keeps_it_wrapped(instance: Any) -> None:
    made = await body_of(await instance.ask("POST", "/api/credentials", json={"name": "laptop", "kind": "agent"}))
    shown = await body_of(await instance.ask("GET", f"/api/credentials/{made['id']}"))
    listed = await body_of(await instance.ask("GET", "/api/credentials"))
    assert "secret_key" not in shown
    assert listed["total"] == 1
    stored = await instance.harness.store.get(ids.credential_document_id(made["id"]))
    assert made["secret_key"] not in json.dumps(stored)
    wrapped = keys.unwrap_signing_key(instance.server.wrapping_key, made["id"], stored["signing_key"])
    assert wrapped == user_keys.derive_signing_key(made["id"], made["secret_key"])
    for field in ("signing_key", "secret_key_hash", "_id", "_rev"):
        assert field not in shown


async def test_an_idempotency_key_makes_one_credential_of_two_requests(instance: Any) -> None:
    headers = {"Idempotency-Key": "abc"}
    first = await instance.ask("POST", "/api/credentials", json={"name": "once"}, headers=headers)
    second = await instance.ask("POST", "/api/credentials", json={"name": "once"}, headers=headers)
    assert await body_of(first) == await body_of(second)
    assert second.headers["Idempotency-Replayed"] == "true"
    other = await instance.ask("POST", "/api/credentials", json={"name": "other"}, headers=headers)
    assert other.status_code == 409
    assert (await body_of(await instance.ask("GET", "/api/credentials")))["total"] == 1


async def test_an_idempotency_key_belongs_to_an_address_with_its_query_and_to_successes(instance: Any) -> None:
    headers = {"Idempotency-Key": "abc"}
    nowhere = "/api/nodes/node-none-aaaa/crawl"
    assert (await instance.ask("POST", nowhere, json={}, headers=headers)).status_code == 404
    # A failure is not kept, and the key is still its request's.
    assert (await instance.ask("POST", nowhere, json={}, headers=headers)).status_code == 404
    assert (await instance.ask("POST", f"{nowhere}?x=1", json={}, headers=headers)).status_code == 409
    long = await instance.ask("POST", "/api/credentials", json={"name": "one"}, headers={"Idempotency-Key": "x" * 201})
    assert (long.status_code, (await body_of(long))["error"]["details"]["field"]) == (400, "Idempotency-Key")


async def test_a_stale_change_changes_nothing(instance: Any) -> None:
    made = await instance.ask("POST", "/api/credentials", json={"name": "one"})
    key, etag = (await body_of(made))["id"], made.headers["ETag"]
    renamed = await instance.ask("PATCH", f"/api/credentials/{key}", json={"name": "two"}, headers={"If-Match": etag})
    assert renamed.status_code == 200
    stale = await instance.ask("PATCH", f"/api/credentials/{key}", json={"name": "three"}, headers={"If-Match": etag})
    assert stale.status_code == 412
    shown = await instance.ask("GET", f"/api/credentials/{key}", headers={"If-None-Match": etag})
    assert (await body_of(shown))["name"] == "two"
    same = await instance.ask("GET", f"/api/credentials/{key}", headers={"If-None-Match": shown.headers["ETag"]})
    assert same.status_code == 304
