"""Protects the secrets of instances: sealed wherever they are stored, in clear for their plugin on their node alone."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.plugins.secrets import opened, seal_plain
from mosaicfs_core.plugins.settings import SettingsSchema
from mosaicfs_core.replication import Replicator, StorePeer
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.sealing import is_sealed
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.store import Store
from mosaicfs_core.testing import Harness

CLEAR = "correct-horse-battery-staple"
LAPTOP = "node-laptop-aaaa"
SCHEMA = {
    "type": "object",
    "properties": {
        "folder": {"type": "string"},
        "token": {"type": "secret", "minLength": 8, "pattern": "^[a-z-]+$"},
        "accounts": {"type": "array", "items": {"type": "object", "properties": {"password": {"type": "secret"}}}},
    },
    "required": ["token"],
}
GIVEN = {"folder": "/mail", "token": CLEAR, "accounts": [{"password": CLEAR}, {"password": ""}]}


def with_mailbox(harness: Harness) -> None:
    """A package with secrets, installed."""
    host = harness.core.host
    manifest = msgspec.structs.replace(host.plugins["localfs"].manifest, settings_schema=SCHEMA, watches=None)
    host.plugins = {**host.plugins, "mailbox": replace(host.plugins["localfs"], name="mailbox", manifest=manifest)}


class ControlPlane:
    """A control plane, asked as its owner asks it."""

    def __init__(self, harness: Harness, app: Any) -> None:
        self.harness, self.store = harness, harness.store
        self.server: ServerState = app.extensions[EXTENSION]
        self._client = app.test_client()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.server.local_token}"}
        client = {"client": ("127.0.0.1", 1)}
        answer = await self._client.open(path, method=method, json=body, headers=headers, scope_base=client)
        return answer.status_code, msgspec.json.decode(await answer.get_data())


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with Harness.start(tmp_path / "home", only=("localfs",)) as harness, running_app(harness.core) as app:
        with_mailbox(harness)
        yield ControlPlane(harness, app)


async def join(plane: ControlPlane, **fields: Any) -> NodeKey:
    """The laptop's key, which its document tells unless other ``fields`` do."""
    key = NodeKey.generate()
    node = {"type": "node", "node_id": LAPTOP, "friendly_name": "Laptop", "public_key": key.public, **fields}
    await plane.store.put({"_id": ids.node_document_id(LAPTOP), **node})
    return key


def bytes_of(folder: Path) -> bytes:
    """Everything that any file in a folder holds."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file() and not file.is_socket())


async def test_neither_the_replica_nor_a_hub_ever_holds_the_clear_text(plane: ControlPlane, tmp_path: Path) -> None:
    key, base = await join(plane), f"/api/nodes/{LAPTOP}/plugins"
    status, made = await plane.ask("POST", base, {"plugin_name": "mailbox", "settings": GIVEN})
    assert status == 201
    assert made["settings"]["token"] == {"set": True}
    # Changed beside its secrets, and in one of them: what was not touched stays what it was.
    for settings in (made["settings"] | {"folder": "/other"}, {"token": f"{CLEAR}-new"}):
        assert (await plane.ask("PATCH", f"{base}/mailbox", {"settings": settings}))[0] == 200
    document = await plane.store.get(ids.plugin_document_id(LAPTOP, "mailbox")) or {}
    assert is_sealed(document["settings"]["token"])
    assert document["settings"]["folder"] == "/other"
    wanted = {**GIVEN, "folder": "/other", "token": f"{CLEAR}-new"}
    assert opened(document, lambda: key) == (wanted, None)
    # A hub is replicated everything, as it stands.
    (tmp_path / "hub").mkdir()
    async with await Store.open(tmp_path / "hub" / "hub.db") as hub:
        await Replicator(StorePeer(plane.store), StorePeer(hub), direction="push").run_once()
        assert await hub.get(document["_id"]) == document
        for place in (tmp_path / "home", tmp_path / "hub"):
            assert b"/other" in bytes_of(place)
            assert CLEAR.encode() not in bytes_of(place)
    # Nor can the control plane open it itself.
    assert "another key" in str(opened(document, lambda: plane.server.identity.key)[1])


async def test_a_wrong_secret_is_refused_before_it_is_sealed(plane: ControlPlane) -> None:
    await join(plane)
    status, answer = await plane.ask(
        "POST", f"/api/nodes/{LAPTOP}/plugins", {"plugin_name": "mailbox", "settings": {"token": "short"}}
    )
    assert (status, answer["error"]["details"]["field"]) == (400, "settings.token")


async def test_a_node_without_a_key_is_given_no_secrets(plane: ControlPlane) -> None:
    await join(plane, public_key=None)
    base = f"/api/nodes/{LAPTOP}/plugins"
    status, answer = await plane.ask("POST", base, {"plugin_name": "mailbox", "settings": GIVEN})
    assert (status, "no key yet" in answer["error"]["message"]) == (409, True)
    assert (await plane.ask("POST", base, {"plugin_name": "localfs", "settings": {}}))[0] == 201


async def test_a_plugin_gets_its_secrets_in_clear_on_its_own_node(plane: ControlPlane) -> None:
    harness = plane.harness
    own = harness.core.node_id
    node = {"type": "node", "node_id": own, "friendly_name": "Here"}
    await plane.store.put({"_id": ids.node_document_id(own), **node})
    status, _ = await plane.ask("POST", f"/api/nodes/{own}/plugins", {"plugin_name": "mailbox", "settings": GIVEN})
    assert status == 201
    instance = (await harness.instances.refresh())["mailbox"]
    assert (instance.settings, instance.problem) == (GIVEN, None)
    assert is_sealed(instance.document["settings"]["token"])
    # With another key it does not run, and says what is to be done.
    harness.home.node_key_file.unlink()
    lost = type(harness.instances)(harness.core)
    problem = (await lost.refresh())["mailbox"].problem or ""
    assert "setting token: it was sealed for another key than this machine's; set it again" in problem
    assert "accounts.0.password" in problem


async def test_what_was_stored_in_clear_is_sealed_at_the_next_start(plane: ControlPlane, tmp_path: Path) -> None:
    key = await join(plane)
    own = plane.server.identity.key
    for node_id in (LAPTOP, plane.harness.core.node_id, "node-unknown-aaaa"):
        base = {"type": "plugin", "node_id": node_id, "plugin_name": "mailbox", "name": "m", "enabled": True}
        plain = {**base, "created_at": "2026-01-01T00:00:00.000000Z", "settings": GIVEN, "config": {"token": CLEAR}}
        await plane.store.put({"_id": ids.plugin_document_id(node_id, "mailbox"), **plain})
    await seal_plain(plane.harness.core, own)
    before = plane.store.reader.seq()
    await seal_plain(plane.harness.core, own)
    assert plane.store.reader.seq() == before
    for node_id, opens in ((LAPTOP, key), (plane.harness.core.node_id, own)):
        document = await plane.store.get(ids.plugin_document_id(node_id, "mailbox")) or {}
        assert is_sealed(document["settings"]["token"])
        assert is_sealed(document["config"]["token"])
        assert document["settings"]["folder"] == "/mail"
        assert opened(document, lambda opens=opens: opens) == (GIVEN, None)
    # For a node whose key nobody knows yet it waits until that is known.
    waiting = await plane.store.get(ids.plugin_document_id("node-unknown-aaaa", "mailbox")) or {}
    assert waiting["settings"] == GIVEN
    shutil.rmtree(tmp_path / "home" / "logs", ignore_errors=True)


@pytest.mark.logs("stay in clear")
async def test_a_key_that_is_none_keeps_neither_the_others_nor_the_start_from_being(plane: ControlPlane) -> None:
    await join(plane, public_key="A" * 44)
    own = plane.server.identity.key
    for node_id in (LAPTOP, plane.harness.core.node_id):
        base = {"type": "plugin", "node_id": node_id, "plugin_name": "mailbox", "name": "m", "enabled": True}
        plain = {**base, "created_at": "2026-01-01T00:00:00.000000Z", "settings": GIVEN}
        await plane.store.put({"_id": ids.plugin_document_id(node_id, "mailbox"), **plain})
    await seal_plain(plane.harness.core, own)
    here = await plane.store.get(ids.plugin_document_id(plane.harness.core.node_id, "mailbox")) or {}
    there = await plane.store.get(ids.plugin_document_id(LAPTOP, "mailbox")) or {}
    assert is_sealed(here["settings"]["token"])
    assert there["settings"] == GIVEN


def test_texts_are_sealed_where_nobody_says_what_they_are() -> None:
    def seal(value: Any) -> str:
        return f"sealed1.{value}"

    unknown = SettingsSchema("program", None)
    assert unknown.sealed({"a": "x", "n": 1, "in": [{"b": "y"}], "no": ""}, seal) == {
        "a": "sealed1.x",
        "n": 1,
        "in": [{"b": "sealed1.y"}],
        "no": "",
    }
    branches = {"type": "object", "properties": {"either": {"anyOf": [{"type": "secret"}, {"type": "integer"}]}}}
    known = SettingsSchema("mine", branches)
    sealed = known.sealed({"either": "pw"}, seal)
    assert sealed == {"either": "sealed1.pw"}
    assert known.errors(sealed) == []
    assert known.sealed(sealed, seal) == sealed
    # Masked out of caution, and no secret: whoever reads the document reads it.
    plain = {"type": "object", "properties": {"step": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}
    assert SettingsSchema("pins", plain).sealed({"step": "x"}, seal) == {"step": "x"}


def test_a_sealed_value_is_not_checked_and_all_others_are() -> None:
    schema = SettingsSchema("mailbox", SCHEMA)
    assert schema.errors({"token": "sealed1.AAAA"}) == []
    assert [one.field for one in schema.errors({"token": "sealed1.AAAA", "folder": 1})] == ["folder"]
    assert [one.field for one in schema.errors({"token": "x"})] != []
