"""What somebody without the key can do to a request, over a real socket: nothing."""

from __future__ import annotations

import logging
import threading
from typing import Any

import msgspec
import pytest

from mosaicfs_core.documents import ids, times
from mosaicfs_core.home import Home
from mosaicfs_core.security import signatures
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.signatures import Target
from mosaicfs_core.security.user_keys import UserSigner
from mosaicfs_core.security.verifier import Asked, Verifier

BODY = b'{"name": "made by a script"}'
JSON = {"Content-Type": "application/json"}
MINUTE = 60_000_000


def target_of(control: Any, **changed: Any) -> Target:
    """A request that makes an access key, or another one."""
    whole = Target(
        method="POST",
        destination=control.server.identity.node_id,
        path="/api/credentials?a=1",
        body_sha256=signatures.sha256_of(BODY),
    )
    return msgspec.structs.replace(whole, **changed)


async def send(control: Any, header: str, **changed: Any) -> tuple[int, Any]:
    """Send the request of ``target_of`` with a header; parts of it can be others than those that were signed."""
    given = {"method": "POST", "path": "/api/credentials?a=1", "body": BODY, "range": None, **changed}
    headers = {"Authorization": header, **({"Range": given["range"]} if given["range"] else {})}
    if given["body"] is not None:
        headers |= JSON
    found: tuple[int, Any] = await control.status_of(
        control.plain(), given["method"], given["path"], body=given["body"], headers=headers
    )
    return found


@pytest.fixture
async def signer(control: Any) -> UserSigner:
    """A user's access key."""
    return UserSigner.from_secret(*await control.key("user"))


def signed(signer: UserSigner, target: Target, **given: Any) -> str:
    return signatures.authorization(signer.key_for(target.destination), signer.key_id, target, **given)


@pytest.mark.parametrize("destination", [None, "control-plane"])
async def test_what_is_signed_is_taken_once(control: Any, signer: UserSigner, destination: str | None) -> None:
    target = target_of(control) if destination is None else target_of(control, destination=destination)
    header = signed(signer, target)
    status, made = await send(control, header)
    assert status == 201
    assert made["name"] == "made by a script"
    status, body = await send(control, header)
    assert status == 401
    assert "was sent before" in body["error"]["message"]


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"path": "/api/credentials?a=2"},
        {"path": "/api/credentials?a=1&b=2"},
        {"path": "/api/credentials"},
        {"path": "/api/auth/link?a=1"},
        {"body": BODY.replace(b"script", b"thief")},
        {"body": BODY + b" "},
        {"body": BODY[:-1]},
        {"body": None},
        {"range": "bytes=0-1"},
    ],
    ids=str,
)
async def test_nothing_of_it_can_be_altered(control: Any, signer: UserSigner, changed: dict[str, Any]) -> None:
    header = signed(signer, target_of(control))
    status, body = await send(control, header, **changed)
    assert status == 401, body
    assert "does not hold" in body["error"]["message"]
    assert (await send(control, header))[0] == 201  # a refused attempt uses nothing up


async def test_a_range_is_signed_too(control: Any, signer: UserSigner) -> None:
    header = signed(signer, target_of(control, range="bytes=0-1"))
    assert (await send(control, header, range="bytes=0-2"))[0] == 401
    assert (await send(control, header))[0] == 401
    assert (await send(control, header, range="bytes=0-1"))[0] == 201


@pytest.mark.parametrize("part", ["Timestamp", "Nonce", "Signature", "AccessKeyId"])
async def test_no_part_of_the_header_can_be_altered(control: Any, signer: UserSigner, part: str) -> None:
    other = UserSigner.from_secret(*await control.key("user"))
    mine = signed(signer, target_of(control), nonce="A" * 22)
    theirs = signed(other, target_of(control), nonce="B" * 22, now=times.now_micros() + 1_000_000)
    fields = dict(field.split("=") for field in theirs.partition(" ")[2].split(", "))
    own = dict(field.split("=") for field in mine.partition(" ")[2].split(", "))
    mixed = {**own, part: fields[part]}
    header = f"{signatures.SCHEME} " + ", ".join(f"{name}={value}" for name, value in mixed.items())
    assert (await send(control, header))[0] == 401


async def test_a_truncated_header_is_refused(control: Any, signer: UserSigner) -> None:
    whole = signed(signer, target_of(control))
    asked = {cut: (await send(control, whole[:cut]))[0] for cut in range(len(signatures.SCHEME), len(whole), 3)}
    assert set(asked.values()) <= {401, 429}
    # All of them claimed the same key, and after a while nobody looks any more.
    assert 429 in asked.values()


async def test_a_signature_for_another_node_or_by_another_key_is_refused(control: Any, signer: UserSigner) -> None:
    assert (await send(control, signed(signer, target_of(control, destination="node-other-aaaa"))))[0] == 401
    foreign = UserSigner(signer.key_id, b"x" * 32)
    assert (await send(control, signed(foreign, target_of(control))))[0] == 401
    unknown = UserSigner("MOSAICFS_0000000000000000", signer.key_for(""))
    assert (await send(control, signed(unknown, target_of(control))))[0] == 401


@pytest.mark.parametrize(("minutes", "told"), [(-10, "10 min 0 s behind"), (10, "ahead of"), (-5.1, "behind")])
async def test_a_clock_ten_minutes_off_is_refused_and_named(
    control: Any, signer: UserSigner, minutes: float, told: str
) -> None:
    header = signed(signer, target_of(control), now=times.now_micros() + int(minutes * MINUTE))
    status, body = await send(control, header)
    assert status == 401
    assert body["error"]["code"] == "clock_skew"
    assert f"the clock of the machine that signs with {signer.key_id} is" in body["error"]["message"]
    assert told in body["error"]["message"]
    assert abs(body["error"]["details"]["skew_s"] - minutes * 60) < 5


async def test_a_wrong_clock_goes_on_being_told_so(control: Any, signer: UserSigner) -> None:
    for _ in range(30):
        header = signed(signer, target_of(control), now=times.now_micros() - 10 * MINUTE)
        assert (await send(control, header))[1]["error"]["code"] == "clock_skew"


@pytest.mark.logs("3 min 0 s (behind|ahead of) the clock here")
@pytest.mark.parametrize("minutes", [-3, 3])
async def test_a_clock_three_minutes_off_works_and_is_warned_of(
    control: Any, signer: UserSigner, minutes: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mosaicfs_core.security"):
        assert (await send(control, signed(signer, target_of(control))))[0] == 201
        assert caplog.records == []
        for _ in range(3):  # told once, not with every request
            header = signed(signer, target_of(control), now=times.now_micros() + minutes * MINUTE)
            assert (await send(control, header))[0] == 201
    assert len(caplog.records) == 1
    assert f"the clock of {signer.key_id} is" in caplog.text
    assert "min" in caplog.text


async def test_a_disabled_key_speaks_no_more(control: Any, signer: UserSigner) -> None:
    user = control.as_signer(signer, "control-plane")
    assert (await control.status_of(user, "GET", "/api/auth/whoami"))[1] == {
        "kind": "user",
        "name": "a key",
        "access_key_id": signer.key_id,
        "node_id": None,
        "session": None,
        "control_plane_id": control.server.identity.node_id,
        "control_plane_key": control.server.identity.key.public,
    }
    assert (await control.status_of(user, "DELETE", f"/api/credentials/{signer.key_id}"))[0] == 200
    status, body = await control.status_of(user, "GET", "/api/auth/whoami")
    assert status == 401
    assert "disabled" in body["error"]["message"]


async def test_many_wrong_signatures_are_made_to_wait(control: Any, signer: UserSigner) -> None:
    wrong = UserSigner(signer.key_id, b"x" * 32)
    seen = {(await send(control, signed(wrong, target_of(control))))[0] for _ in range(30)}
    assert seen == {401, 429}
    other = UserSigner.from_secret(*await control.key("user"))
    assert (await send(control, signed(other, target_of(control))))[0] == 201


async def test_a_body_beyond_the_bound_is_not_read(control: Any, signer: UserSigner) -> None:
    large = b'"' + b"x" * 3_000_000 + b'"'
    header = signed(signer, target_of(control, body_sha256=signatures.sha256_of(large)))
    assert (await send(control, header, body=large))[0] == 413


async def test_a_large_body_is_digested_beside_the_loop(
    control: Any, signer: UserSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[int, threading.Thread] = {}
    real = signatures.sha256_of

    def noted(body: bytes | None) -> str:
        threads[len(body or b"")] = threading.current_thread()
        return real(body)

    monkeypatch.setattr(signatures, "sha256_of", noted)
    for size in (100, 1 << 20):
        body = b'"' + b"x" * (size - 2) + b'"'
        header = signed(signer, target_of(control, body_sha256=real(body)))
        assert (await send(control, header, body=body))[0] == 400  # it is taken for whose it is, and makes no key
    assert threads[100] is threading.main_thread()
    assert threads[1 << 20] is not threading.main_thread()


async def test_a_node_signs_for_itself_alone(control: Any, laptop: Home, tmp_path: Any) -> None:
    first = await control.enrol(laptop)
    second = await control.enrol(Home(tmp_path / "desktop"), name="Desktop")
    node = control.as_node(laptop, first)
    assert (await control.status_of(node, "GET", "/api/auth/whoami"))[1] == {
        "kind": "node",
        "name": "Laptop",
        "node_id": first.node_id,
        "access_key_id": None,
        "session": None,
        "control_plane_id": control.server.identity.node_id,
        "control_plane_key": control.server.identity.key.public,
    }
    # The laptop's key under the desktop's name.
    as_other = msgspec.structs.replace(first, node_id=second.node_id)
    assert (await control.status_of(control.as_node(laptop, as_other), "GET", "/api/auth/whoami"))[0] == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/nodes"),
        ("GET", "/api/credentials"),
        ("POST", "/api/credentials"),
        ("DELETE", "/api/nodes/node-x-aaaa"),
        ("POST", "/api/auth/link"),
        ("POST", "/api/system/reindex"),
        ("GET", "/api/agentx"),
        ("GET", "/dbx/y"),
    ],
)
async def test_a_stolen_laptop_opens_no_more_than_what_nodes_need(
    control: Any, laptop: Home, method: str, path: str
) -> None:
    node = control.as_node(laptop, await control.enrol(laptop))
    status, _ = await control.status_of(node, method, path)
    assert status in (403, 404)
    assert status == 403 or path in ("/api/agentx", "/dbx/y")
    agent = await control.as_user("agent")
    assert (await control.status_of(agent, method, path))[0] == status


async def test_a_disabled_node_speaks_no_more_and_does_again_when_enabled(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    node, user = control.as_node(laptop, known), await control.as_user()
    assert (await control.status_of(node, "GET", "/api/agent/credentials"))[0] == 200
    assert (await control.status_of(user, "DELETE", f"/api/nodes/{known.node_id}"))[1]["status"] == "disabled"
    status, body = await control.status_of(node, "GET", "/api/agent/credentials")
    assert status == 401
    assert f"{known.node_id} was disabled" in body["error"]["message"]
    given = {"body": b'{"enabled": true}', "headers": JSON}
    assert (await control.status_of(user, "PATCH", f"/api/nodes/{known.node_id}", **given))[1]["status"] == "offline"
    assert (await control.status_of(node, "GET", "/api/agent/credentials"))[0] == 200


async def test_revoking_a_key_ends_its_node(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    node, user = control.as_node(laptop, known), await control.as_user()
    assert (await control.status_of(user, "DELETE", f"/api/credentials/{known.access_key_id}"))[0] == 200
    status, body = await control.status_of(node, "GET", "/api/agent/credentials")
    assert status == 401
    assert "was disabled" in body["error"]["message"]
    with pytest.raises(Exception, match="was disabled"):
        await control.server.links.serve(known.node_id, None, None)


async def test_peers_verify_offline_and_refuse_users(control: Any, laptop: Home, tmp_path: Any) -> None:
    """An agent's own listener, with nothing but its replica: the control plane's is a copy of what it would have."""
    desktop = Home(tmp_path / "desktop")
    first, second = await control.enrol(laptop), await control.enrol(desktop, name="Desktop")
    documents = {
        name: await control.server.core.store.get(name)
        for known in (first, second)
        for name in (ids.node_document_id(known.node_id), ids.credential_document_id(str(known.access_key_id)))
    }

    async def find(identifier: str) -> Any:
        return documents.get(identifier)

    verifier = Verifier(find, (second.node_id,), NodeKey.of_home(desktop))
    key = NodeKey.of_home(laptop).shared_with(first.node_id, second.node_id, NodeKey.of_home(desktop).public)

    def asked(header: str) -> Asked:
        async def body() -> bytes:
            return b""

        return Asked(method="GET", path="/x", authorization=header, range="", body=body)

    target = Target(method="GET", destination=second.node_id, path="/x")
    caller = await verifier.verify(asked(signatures.authorization(key, first.node_id, target)))
    assert (caller.kind, caller.node_id) == ("node", first.node_id)
    # What was meant for the desktop, sent back to the laptop under the desktop's name.
    mirror = Verifier(find, (first.node_id,), NodeKey.of_home(laptop))
    with pytest.raises(Exception, match="does not hold"):
        await mirror.verify(asked(signatures.authorization(key, second.node_id, target)))
    user = UserSigner.from_secret(*await control.key("user"))
    with pytest.raises(Exception, match="only enrolled nodes"):
        await verifier.verify(asked(signed(user, target)))
    # The revocation arrives, as the stub that agents get.
    name = ids.credential_document_id(str(first.access_key_id))
    documents[name] = {"_id": name, "type": "credential", "enabled": False, "node_id": first.node_id}
    with pytest.raises(Exception, match="was disabled"):
        await verifier.verify(asked(signatures.authorization(key, first.node_id, target)))
    del documents[name]
    with pytest.raises(Exception, match="was disabled"):
        await verifier.verify(asked(signatures.authorization(key, first.node_id, target)))
