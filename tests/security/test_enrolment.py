"""A machine joins once with a key, gets its own id again whenever it asks, and no other machine takes its place."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import Conflict, NotAllowed, NotSignedIn, UserError
from mosaicfs_core.home import Home
from mosaicfs_core.security import certificates, enrolment, joining
from mosaicfs_core.security.authority import ServerCertificate, server_context
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.requests import SignedRequests, Untrusted
from mosaicfs_core.security.user_keys import UserSigner

JSON = {"Content-Type": "application/json"}


def files_of(home: Home) -> dict[str, bytes]:
    """Everything a home holds but its lock."""
    return {
        str(path.relative_to(home.path)): path.read_bytes()
        for path in sorted(home.path.rglob("*"))
        if path.is_file() and path != home.lock_file
    }


async def test_a_machine_joins(control: Any, laptop: Home) -> None:
    key = await control.key()
    known = await control.enrol(laptop, key, name="Anna's Laptop")
    assert ids.new_node_id("Anna's Laptop")[:-4] == known.node_id[:-4]
    assert known.control_plane_id == control.server.identity.node_id
    node = await control.server.core.store.get(ids.node_document_id(known.node_id))
    assert {name: node[name] for name in ("friendly_name", "status", "public_key", "access_key_id")} == {
        "friendly_name": "Anna's Laptop",
        "status": "offline",
        "public_key": NodeKey.of_home(laptop).public,
        "access_key_id": key[0],
    }
    credential = await control.server.core.store.get(ids.credential_document_id(key[0]))
    assert credential["node_id"] == known.node_id
    assert enrolment.load(laptop) == known
    assert (laptop.path / "node_id").read_text().strip() == known.node_id
    found = ServerCertificate(laptop).present()
    assert found is not None
    assert certificates.names_of(found) == {known.node_id}
    for file in laptop.path.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file
    assert not any(key[1].encode() in content for content in files_of(laptop).values())


async def test_the_same_machine_again_is_itself(control: Any, laptop: Home) -> None:
    key = await control.key()
    first = await control.enrol(laptop, key)
    again = await control.enrol(laptop, key, name="Another name")
    assert again.node_id == first.node_id
    # Even when all but its key was lost.
    laptop.enrolment_file.unlink()
    (laptop.path / "node_id").unlink()
    shutil.rmtree(laptop.certs_dir)
    assert (await control.enrol(laptop, key)).node_id == first.node_id
    nodes = await control.server.core.store.read(lambda reader: list(reader.documents_of("node")))
    assert [node["node_id"] for node in nodes].count(first.node_id) == 1


async def test_a_second_machine_with_the_key_is_refused(control: Any, laptop: Home, tmp_path: Path) -> None:
    key, desktop = await control.key(), Home(tmp_path / "desktop")
    await control.enrol(laptop, key)
    with pytest.raises(Conflict, match="belongs to another machine already: Laptop"):
        await control.enrol(desktop, key)
    assert not desktop.enrolment_file.exists()
    assert not (desktop.path / "node_id").exists()


async def test_of_two_machines_at_once_one_gets_the_key(control: Any, tmp_path: Path) -> None:
    key = await control.key()
    homes = [Home(tmp_path / name) for name in "abcd"]
    answers = await asyncio.gather(*(control.enrol(home, key) for home in homes), return_exceptions=True)
    assert sum(isinstance(answer, enrolment.Enrolment) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 3


async def test_who_knows_a_public_key_does_not_get_that_machines_name(control: Any, laptop: Home) -> None:
    key = await control.key()
    known = await control.enrol(laptop, key)
    csr = certificates.make_request(certificates.new_key())
    body = {"name": "x", "public_key": NodeKey.of_home(laptop).public, "csr": csr}
    thief = await control.as_user("agent")
    given = {"body": msgspec.json.encode(body), "headers": JSON}
    status, answer = await control.status_of(thief, "POST", "/api/nodes", **given)
    assert status == 409
    assert "proves itself with its own key" in answer["error"]["message"]
    # With the machine's own access key, whose secret may have been seen when it was typed.
    owner = control.as_signer(UserSigner.from_secret(*key), "control-plane")
    status, answer = await control.status_of(owner, "POST", "/api/nodes", **given)
    assert (status, answer["node_id"]) == (200, known.node_id)
    assert "certificate" not in answer
    node = control.as_node(laptop, known)
    assert "certificate" in (await control.status_of(node, "POST", "/api/nodes", **given))[1]


async def test_an_own_id_is_kept_and_anothers_is_not_given(control: Any, laptop: Home, tmp_path: Path) -> None:
    (laptop.prepare().path / "node_id").write_text("node-mine-abcd\n")
    assert (await control.enrol(laptop)).node_id == "node-mine-abcd"
    thief = Home(tmp_path / "thief").prepare()
    (thief.path / "node_id").write_text("node-mine-abcd\n")
    with pytest.raises(Conflict, match="belongs to a machine with another key"):
        await control.enrol(thief)
    for name in (control.server.identity.node_id, "control-plane"):
        (thief.path / "node_id").write_text(name)
        with pytest.raises(UserError, match="begins with node-"):
            await control.enrol(thief)


async def test_a_certificate_is_for_the_nodes_own_id_whatever_it_asks_for(control: Any) -> None:
    authority, key = control.server.identity.authority, certificates.new_key()
    made = certificates.load(authority.issue(certificates.make_request(key), "node-a-aaaa"))
    assert certificates.names_of(made) == {"node-a-aaaa"}
    assert not certificates.is_authority(made)
    assert certificates.issued_by(made, authority.certificate)


@pytest.mark.parametrize("csr", ["x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"])
async def test_a_damaged_request_binds_nothing(control: Any, laptop: Home, csr: str) -> None:
    key = await control.key()
    asking = control.as_signer(UserSigner.from_secret(*key), "control-plane")
    body = {"name": "x", "public_key": NodeKey.of_home(laptop.prepare()).public, "csr": csr}
    status, answer = await control.status_of(asking, "POST", "/api/nodes", body=msgspec.json.encode(body), headers=JSON)
    assert status == 400
    assert "certificate request" in answer["error"]["message"]
    credential = await control.server.core.store.get(ids.credential_document_id(key[0]))
    assert "node_id" not in credential


async def test_a_disabled_machine_does_not_come_back_by_itself(control: Any, laptop: Home) -> None:
    key = await control.key()
    known = await control.enrol(laptop, key)
    user = await control.as_user()
    await control.status_of(user, "DELETE", f"/api/nodes/{known.node_id}")
    with pytest.raises(NotAllowed, match="was disabled; enable it again"):
        await control.enrol(laptop, key)
    await control.status_of(user, "DELETE", f"/api/credentials/{key[0]}")
    with pytest.raises(NotSignedIn, match="disabled"):
        await control.enrol(laptop, key)


async def test_a_machine_whose_key_was_revoked_is_shown_as_disabled(control: Any, laptop: Home) -> None:
    key_id, secret = await control.key()
    known = await control.enrol(laptop, (key_id, secret))
    server, owner = control.server, control.plain(Authorization=f"Bearer {control.server.local_token}")
    await server.liveness.heard(known.node_id)
    address = f"/api/nodes/{known.node_id}"

    async def shown() -> set[str]:
        _, listed = await control.status_of(owner, "GET", "/api/nodes")
        _, one = await control.status_of(owner, "GET", address)
        _, told = await control.status_of(owner, "GET", f"{address}/status")
        words = {one["status"], told["status"]}
        words |= {node["status"] for node in listed["items"] if node["id"] == known.node_id}
        for word in ("online", "offline", "disabled"):
            _, some = await control.status_of(owner, "GET", f"/api/nodes?status={word}")
            words |= {word for node in some["items"] if node["id"] == known.node_id}
        return words

    assert await shown() == {"online"}
    assert (await control.status_of(owner, "DELETE", f"/api/credentials/{key_id}"))[0] == 200
    assert await shown() == {"disabled"}
    # Enabling the node would not help it.
    asked = {"body": b'{"enabled": true}', "headers": {"Content-Type": "application/json"}}
    status, answer = await control.status_of(owner, "PATCH", address, **asked)
    assert (status, answer["error"]["details"]) == (409, {"access_key_id": key_id})
    asked["body"] = b'{"enabled": true}'
    assert (await control.status_of(owner, "PATCH", f"/api/credentials/{key_id}", **asked))[0] == 200
    assert await shown() == {"online"}


async def test_a_key_shows_when_it_signed_a_request_last(control: Any) -> None:
    signer = UserSigner.from_secret(*await control.key("user"))
    user = control.as_signer(signer, "control-plane")
    seen = []
    for _ in range(2):
        _, listed = await control.status_of(user, "GET", "/api/credentials")
        seen += [one.get("last_seen") for one in listed["items"] if one["id"] == signer.key_id]
    assert None not in seen
    assert seen == sorted(set(seen))


async def test_a_key_shows_when_its_machine_was_heard_of_and_a_name_is_one_machines(
    control: Any, laptop: Home, tmp_path: Path
) -> None:
    key_id, secret = await control.key()
    known = await control.enrol(laptop, (key_id, secret))
    other = await control.enrol(Home(tmp_path / "desktop"), name="Desktop")
    owner = control.plain(Authorization=f"Bearer {control.server.local_token}")

    async def seen() -> Any:
        _, listed = await control.status_of(owner, "GET", "/api/credentials")
        return next(one.get("last_seen") for one in listed["items"] if one["id"] == key_id)

    enrolled = await seen()
    await control.status_of(control.as_node(laptop, known), "GET", "/api/agent/credentials")
    asked = await seen()
    assert asked > enrolled
    await control.server.liveness.heard(known.node_id)
    assert await seen() > asked

    async def rename(node_id: str, name: str) -> int:
        given = {"body": f'{{"friendly_name": "{name}"}}'.encode(), "headers": {"Content-Type": "application/json"}}
        return int((await control.status_of(owner, "PATCH", f"/api/nodes/{node_id}", **given))[0])

    assert await rename(other.node_id, "Laptop") == 409
    assert await rename(known.node_id, "Laptop") == 200
    assert await rename(known.node_id, "Old") == 200
    assert await rename(other.node_id, "Laptop") == 200


async def test_the_control_planes_own_machine_is_neither_enrolled_nor_disabled(control: Any) -> None:
    user = await control.as_user()
    own = control.server.identity.node_id
    assert (await control.status_of(user, "DELETE", f"/api/nodes/{own}"))[0] == 409
    with pytest.raises(Conflict, match="home of a control plane"):
        joining.refuse_other(control.harness.home, control.url, control.ca_pem)


async def test_a_signed_in_user_may_enrol_a_machine(control: Any, laptop: Home) -> None:
    user = UserSigner.from_secret(*await control.key("user"))
    known = await joining.join(laptop.prepare(), control.url, control.ca_pem, user, "By hand")
    assert known.access_key_id is None
    assert (await control.status_of(control.as_node(laptop, known), "GET", "/api/agent/credentials"))[0] == 200


async def test_a_home_of_another_control_plane_is_told_before_anything_is_registered(
    control: Any, running: Any, laptop: Home, tmp_path: Path
) -> None:
    former = await control.enrol(laptop)
    before = files_of(laptop)
    async with running(tmp_path / "new") as new:
        key = await new.key()
        with pytest.raises(Conflict, match="Nothing was changed"):
            await new.enrol(laptop, key)
        credential = await new.server.core.store.get(ids.credential_document_id(key[0]))
        assert "node_id" not in credential
        assert await new.server.core.store.get(ids.node_document_id(former.node_id)) is None
        assert files_of(laptop) == before
        laptop.enrolment_file.unlink()
        assert (await new.enrol(laptop, key)).node_id == former.node_id


@pytest.mark.parametrize("by_user", [False, True])
async def test_a_machine_that_lost_its_enrolment_proves_itself_by_its_own_key(
    control: Any, laptop: Home, by_user: bool
) -> None:
    first = await control.enrol(laptop, await control.key("user" if by_user else "agent"))
    (laptop.path / "node_id").unlink()
    laptop.enrolment_file.unlink()
    fresh = await control.key()
    again = await control.enrol(laptop, fresh)
    assert (again.node_id, again.access_key_id) == (first.node_id, first.access_key_id)
    assert (await control.status_of(control.as_node(laptop, again), "GET", "/api/agent/credentials"))[0] == 200
    credential = await control.server.core.store.get(ids.credential_document_id(fresh[0]))
    assert "node_id" not in credential, "it is free for another machine"


async def test_a_fresh_key_takes_the_place_of_one_that_was_revoked(control: Any, laptop: Home) -> None:
    lost, fresh = await control.key(), await control.key()
    first = await control.enrol(laptop, lost)
    user = await control.as_user()
    await control.status_of(user, "DELETE", f"/api/credentials/{lost[0]}")
    assert (await control.status_of(control.as_node(laptop, first), "GET", "/api/auth/whoami"))[0] == 401
    again = await control.enrol(laptop, fresh)
    assert (again.node_id, again.access_key_id) == (first.node_id, fresh[0])
    assert (await control.status_of(control.as_node(laptop, again), "GET", "/api/agent/credentials"))[0] == 200
    # From then on it is this one that ends the machine.
    await control.status_of(user, "DELETE", f"/api/credentials/{fresh[0]}")
    assert (await control.status_of(control.as_node(laptop, again), "GET", "/api/auth/whoami"))[0] == 401


async def test_a_name_that_another_machine_has_gets_a_number(control: Any, laptop: Home, tmp_path: Path) -> None:
    names = [(await control.enrol(Home(tmp_path / home), name="tab")).name for home in "abc"]
    assert names == ["tab", "tab-2", "tab-3"]
    nodes = await control.server.core.store.read(lambda reader: list(reader.documents_of("node")))
    assert sorted(node["friendly_name"] for node in nodes if node["friendly_name"].startswith("tab")) == names


async def test_nodes_learn_which_keys_hold(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    node = control.as_node(laptop, known)
    revoked = await control.key()
    user = await control.as_user()
    await control.status_of(user, "DELETE", f"/api/credentials/{revoked[0]}")
    _, answer = await control.status_of(node, "GET", "/api/agent/credentials")
    told = {item["access_key_id"]: item for item in answer["items"]}
    assert told[known.access_key_id]["enabled"]
    assert told[known.access_key_id]["node_id"] == known.node_id
    assert not told[revoked[0]]["enabled"]
    assert set().union(*answer["items"]) <= {"access_key_id", "kind", "enabled", "node_id", "revocations"}
    assert (await control.status_of(user, "GET", "/api/agent/credentials"))[0] == 403


async def test_a_certificate_is_renewed_when_it_ends_soon(
    control: Any, laptop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await control.enrol(laptop)
    node = control.as_node(laptop, known)
    before = laptop.certs_dir.joinpath("server.pem").read_bytes()
    assert not await joining.renew(laptop, known, node)
    monkeypatch.setattr(certificates, "RENEW_BEFORE_DAYS", certificates.SERVER_DAYS)
    assert await joining.renew(laptop, known, node)
    monkeypatch.undo()
    assert laptop.certs_dir.joinpath("server.pem").read_bytes() != before
    assert not await joining.renew(laptop, known, node)


async def test_another_authority_is_not_trusted_and_nothing_changes(
    control: Any, running: Any, laptop: Home, tmp_path: Path
) -> None:
    known = await control.enrol(laptop)
    before = files_of(laptop)
    async with running(tmp_path / "impostor") as impostor:
        signer = joining.signer_of(known, NodeKey.of_home(laptop))
        misled = SignedRequests(impostor.url, known.control_plane_id, signer, known.ca_pem)
        with pytest.raises(Untrusted, match="run mosaicfs agent init again"):
            async with misled.request("GET", "/api/health"):
                pass
        await misled.close()
        # The same address with another authority, as after a change; and another instance altogether.
        with pytest.raises(NotAllowed, match="another authority"):
            joining.refuse_other(laptop, control.url, impostor.ca_pem)
        with pytest.raises(Conflict, match="belongs to the control plane at"):
            joining.refuse_other(laptop, impostor.url, impostor.ca_pem)
        assert joining.refuse_other(laptop, control.url, control.ca_pem) == known
    assert files_of(laptop) == before


async def test_a_node_cannot_answer_for_another(control: Any, laptop: Home) -> None:
    """A stolen laptop's certificate is the authority's, and good for its own name alone."""
    known = await control.enrol(laptop)
    own = ServerCertificate(laptop)
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=server_context(own.chain_file, own.key_file)
    )
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    signer = UserSigner("MOSAICFS_0123456789abcdef", b"k" * 32)
    for destination in (known.control_plane_id, "control-plane", "node-other-aaaa"):
        misled = SignedRequests(url, destination, signer, known.ca_pem)
        with pytest.raises(Untrusted, match="not valid for"):
            async with misled.request("GET", "/"):
                pass
        await misled.close()
    server.close()
    await server.wait_closed()


async def test_tls_is_current_and_speaks_both_protocols(control: Any) -> None:
    port = int(control.url.rpartition(":")[2])
    context = ssl.create_default_context(cadata=control.ca_pem)
    for wanted, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")):
        context.set_alpn_protocols(wanted)
        for name in ("localhost", "control-plane", control.server.identity.node_id):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
            secure = writer.get_extra_info("ssl_object")
            assert secure.selected_alpn_protocol() == chosen
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
            writer.close()
            await writer.wait_closed()
