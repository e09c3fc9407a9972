"""Protects against the stolen laptop that comes back to life with yesterday's backup of the control plane."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.documents import ids
from mosaicfs_core.home import Home
from mosaicfs_core.replication import Filter, HttpPeer, Replicator, StorePeer
from mosaicfs_core.replication.flows import selector_of_node
from mosaicfs_core.security.enrolment import Enrolment
from mosaicfs_core.store import Store

JSON = {"Content-Type": "application/json"}
WHOAMI = ("GET", "/api/auth/whoami")


def set_back(home: Path, backup: Path) -> None:
    """Put the replica of yesterday into a home."""
    replica = Home(home).replica
    for file in replica.parent.glob(f"{replica.name}*"):
        file.unlink()
    shutil.copy(backup, replica)


async def revoke(control: Any, kind: str, stolen: Enrolment) -> None:
    path = f"/api/credentials/{stolen.access_key_id}" if kind == "key" else f"/api/nodes/{stolen.node_id}"
    assert (await control.status_of(await control.as_user(), "DELETE", path))[0] == 200


@pytest.mark.logs("was restored or made anew|has forgotten some|is disabled again")
@pytest.mark.parametrize("kind", ["key", "node"])
async def test_a_restored_control_plane_learns_again_who_was_revoked(
    running: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    home, laptop, desktop = tmp_path / "control", Home(tmp_path / "laptop"), Home(tmp_path / "desktop")
    async with running(home) as control:
        stolen, kept = await control.enrol(laptop), await control.enrol(desktop, name="Desktop")
    shutil.copy(Home(home).replica, tmp_path / "backup.db")
    async with await Store.open(tmp_path / "desktop.db") as store:
        async with running(home) as control:
            await Replication(store, kept.node_id, control.as_node(desktop, kept)).meet()
            await revoke(control, kind, stolen)
            await Replication(store, kept.node_id, control.as_node(desktop, kept)).meet()
            assert (await control.status_of(control.as_node(laptop, stolen), *WHOAMI))[0] == 401
            await _pull(store, control.as_node(desktop, kept), kept.node_id)
        set_back(home, tmp_path / "backup.db")
        async with running(home) as control:
            assert (await control.status_of(control.as_node(laptop, stolen), *WHOAMI))[0] == 200
            await Replication(store, kept.node_id, control.as_node(desktop, kept)).meet()
            assert (await control.status_of(control.as_node(laptop, stolen), *WHOAMI))[0] == 401
            assert (await control.status_of(control.as_node(desktop, kept), *WHOAMI))[0] == 200
        credential = await store.get(ids.credential_document_id(str(stolen.access_key_id)))
        node = await store.get(ids.node_document_id(stolen.node_id))
        assert credential is not None
        assert node is not None
        assert (not credential["enabled"]) if kind == "key" else node["status"] == "disabled"


async def _pull(store: Store, requests: Any, node_id: str) -> None:
    """Everything that a node may know, once."""
    chosen = Filter(f"to {node_id}", selector=selector_of_node(node_id))
    await Replicator(HttpPeer(requests), StorePeer(store), direction="pull", chosen=chosen).run_once()


async def ask(control: Any, caller: Any, *items: dict[str, Any]) -> tuple[int, Any]:
    body = json.dumps({"items": items}).encode()
    found: tuple[int, Any] = await control.status_of(caller, "POST", "/api/agent/revocations", body=body, headers=JSON)
    return found


@pytest.mark.logs("is not of this control plane")
async def test_nobody_is_revoked_by_somebody_else(control: Any, laptop: Home, tmp_path: Path) -> None:
    thief = control.as_node(laptop, await control.enrol(laptop))
    victim = await control.enrol(Home(tmp_path / "desktop"), name="Desktop")
    user = await control.as_user()
    name, other = ids.credential_document_id(str(victim.access_key_id)), ids.node_document_id(victim.node_id)
    store = control.server.core.store

    # Revoked and enabled again: the proof of that time says nothing any more, here or of something else.
    path, enable = f"/api/credentials/{victim.access_key_id}", {"body": b'{"enabled": true}', "headers": JSON}
    assert (await control.status_of(user, "DELETE", path))[0] == 200
    old = (await store.get(name))["revocation"]
    assert (await control.status_of(user, "PATCH", path, **enable))[0] == 200
    before = store.seq
    for document_id, number, proof in (
        (name, 1, old["proof"]),
        (name, 2, old["proof"]),
        (name, 2, "0" * 64),
        (name, 2, "\u00e9"),
        (other, 1, old["proof"]),
        (other, 1, ""),
        ("dir::root", 1, old["proof"]),
        (ids.credential_document_id("MOSAICFS_0000000000000000"), 1, old["proof"]),
    ):
        assert await ask(control, thief, {"id": document_id, "number": number, "proof": proof}) == (
            200,
            {"disabled": []},
        )
    assert store.seq == before
    assert (await ask(control, user, {"id": name, "number": 1, "proof": old["proof"]}))[0] == 403

    # The next time has a number and a proof of its own; doing it twice is doing it once.
    assert (await control.status_of(user, "DELETE", path))[0] == 200
    assert (await control.status_of(user, "DELETE", path))[0] == 200
    new = (await store.get(name))["revocation"]
    assert (old["number"], new["number"]) == (1, 2)
    assert new["proof"] != old["proof"]
    assert "revocation" not in (await control.status_of(user, "GET", path))[1]
    assert "revocation" not in (await control.status_of(user, "GET", f"/api/nodes/{victim.node_id}"))[1]
