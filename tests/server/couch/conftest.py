"""An instance on a real socket, asked over CouchDB's protocol by whoever a test says it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest
from quart import Request

from mosaicfs_core.config import ServerConfig
from mosaicfs_core.documents import ids
from mosaicfs_core.server.auth import guard
from mosaicfs_core.server.serve import bind, serving
from mosaicfs_core.server.state import Principal, ServerState
from mosaicfs_core.store import Store

DB = "/db/mosaicfs"
NODE = "node-laptop-7f3a"
OTHER = "node-desktop-b2c4"
KEY = "MOSAICFS_0123456789abcdef"
HUB_KEY = "MOSAICFS_fedcba9876543210"
TIME = "2026-02-16T09:22:00.000000Z"

PRINCIPALS = {
    "node": Principal(kind="node", name="laptop", node_id=NODE),
    "other": Principal(kind="node", name="desktop", node_id=OTHER),
    "user": Principal(kind="user", name="somebody", access_key_id=KEY, session="s", revocations=0),
    "hub": Principal(kind="hub", name="couch", access_key_id=HUB_KEY),
    "agent": Principal(kind="agent", name="new machine", access_key_id="MOSAICFS_00000000000000aa"),
}


class Answer(NamedTuple):
    """What came back, whole."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body decoded."""
        return json.loads(self.body)


class Samples:
    """Valid documents of two nodes, ``node`` and ``other``, which are also those that may ask."""

    node = NODE
    other = OTHER

    @staticmethod
    def file(number: int, node_id: str = NODE, **fields: Any) -> dict[str, Any]:
        """A file document, another one for each number."""
        return file_document(number, node_id, **fields)

    @staticmethod
    def keys() -> list[dict[str, Any]]:
        """The documents of the access keys of the user and the hub that ask."""
        return [credential(KEY), credential(HUB_KEY)]

    @staticmethod
    def documents(node_id: str) -> dict[str, dict[str, Any]]:
        """A document of each type that concerns a node, by type."""
        return documents_of(node_id)


class Couch(Samples):
    """One endpoint and the ways to ask it. ``key`` is the access key of the user who asks."""

    key = KEY

    def __init__(self, url: str, instance: Any, client: aiohttp.ClientSession) -> None:
        self.url = url
        self.instance = instance
        self.client = client

    @property
    def store(self) -> Store:
        """The replica behind the endpoint."""
        store: Store = self.instance.harness.store
        return store

    @property
    def token(self) -> str:
        """The local token."""
        token: str = self.instance.server.local_token
        return token

    async def fill(self) -> list[dict[str, Any]]:
        """Write a document of each type for both nodes."""
        documents = [*documents_of(NODE).values(), *documents_of(OTHER).values()]
        results = await self.store.bulk(documents)
        assert not [result.error for result in results if result.error]
        return documents

    def headers(self, who: str | None) -> dict[str, str]:
        """What makes a request somebody's."""
        if who is None:
            return {}
        return {"Authorization": f"Bearer {self.token}"} if who == "local" else {"X-Test-Principal": who}

    def open(self, method: str, path: str, who: str | None = "local", **given: Any) -> Any:
        """A request under way; ``path`` is below the database unless it begins with /db or /api."""
        headers = {**self.headers(who), **given.pop("headers", {})}
        address = self.url + (path if path.startswith(("/db", "/api")) else f"{DB}{path}")
        return self.client.request(method, address, headers=headers, **given)

    async def ask(self, method: str, path: str, who: str | None = "local", **given: Any) -> Answer:
        """A request and its whole answer."""
        async with self.open(method, path, who, **given) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, who: str = "local", **params: Any) -> Answer:
        """A GET with a query."""
        return await self.ask("GET", path, who, params=params)

    async def post(self, path: str, body: Any, who: str = "local", **params: Any) -> Answer:
        """A POST of JSON."""
        return await self.ask("POST", path, who, params=params, json=body)


@pytest.fixture
def principals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are of whom the header X-Test-Principal says, where there is one."""
    real = guard.identify

    async def identify(server: ServerState, asked: Request) -> Principal:
        name = asked.headers.get("X-Test-Principal")
        return await real(server, asked) if name is None else PRINCIPALS[name]

    monkeypatch.setattr(guard, "identify", identify)


@pytest.fixture
def samples() -> type[Samples]:
    """Valid documents of two nodes."""
    return Samples


@pytest.fixture
async def couch(instance: Any, principals: None) -> AsyncIterator[Couch]:
    """The instance of the test, served. Nobody seeds its tree: the test's documents are all there is."""
    instance.app.before_serving_funcs.clear()
    await instance.harness.store.bulk([credential(KEY), credential(HUB_KEY)])
    listener = bind(ServerConfig(port=0))
    async with (
        serving(instance.app, listener, instance.harness.home) as url,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as client,
    ):
        yield Couch(url, instance, client)


def credential(key: str) -> dict[str, Any]:
    """The document of an access key."""
    return {
        "_id": ids.credential_document_id(key),
        "type": "credential",
        "access_key_id": key,
        "secret_key_hash": "hash-of-a-secret",
        "signing_key": "wrapped-signing-key",
        "name": key,
        "kind": "user",
        "created_at": TIME,
    }


def file_document(number: int, node_id: str, **fields: Any) -> dict[str, Any]:
    path = f"/home/user/docs-{number % 50}/report-{number}.pdf"
    identifier = ids.file_document_id(node_id, ids.first_file_uuid(node_id, path))
    parent, _, name = path.rpartition("/")
    return {
        "_id": identifier,
        "type": "file",
        "inode": ids.derived_inode(identifier),
        "name": name,
        "source": {"node_id": node_id, "export_path": path, "export_parent": parent},
        "size": number,
        "mtime": TIME,
        "status": "active",
        **fields,
    }


def documents_of(node_id: str) -> dict[str, dict[str, Any]]:
    place = {"node_id": node_id, "export_path": "/a"}
    return {
        "file": file_document(1, node_id),
        "virtual_directory": {
            "_id": ids.directory_document_id(f"/{node_id}"),
            "type": "virtual_directory",
            "inode": 5000,
            "virtual_path": f"/{node_id}",
            "name": node_id,
            "parent_path": "/",
            "created_at": TIME,
        },
        "node": {
            "_id": ids.node_document_id(node_id),
            "type": "node",
            "node_id": node_id,
            "friendly_name": node_id,
            "public_key": "key-of-" + node_id,
            "control_version": 3,
        },
        "credential": credential(f"MOSAICFS_{ids.path_hash(node_id)[:16]}"),
        "agent_status": {
            "_id": ids.status_document_id(node_id),
            "type": "agent_status",
            "node_id": node_id,
            "updated_at": TIME,
            "overall": "healthy",
        },
        "utilization_snapshot": {
            "_id": ids.utilization_document_id(node_id, TIME),
            "type": "utilization_snapshot",
            "node_id": node_id,
            "captured_at": TIME,
        },
        "label_assignment": {
            "_id": ids.label_assignment_id(node_id, "/a"),
            "type": "label_assignment",
            **place,
            "labels": ["red"],
            "updated_at": TIME,
        },
        "label_rule": {
            "_id": f"label_rule::{ids.first_file_uuid(node_id, '/rule')}",
            "type": "label_rule",
            "node_id": node_id,
            "path_prefix": "/a/",
            "labels": ["red"],
            "name": "rule",
            "created_at": TIME,
        },
        "plugin": {
            "_id": ids.plugin_document_id(node_id, "mailbox"),
            "type": "plugin",
            "node_id": node_id,
            "plugin_name": "mailbox",
            "name": "Mailbox",
            "settings": {"password": "plugin-secret", "port": 993},
            "created_at": TIME,
        },
        "annotation": {
            "_id": ids.annotation_id(node_id, "/a", "ocr"),
            "type": "annotation",
            **place,
            "plugin_name": "ocr",
            "annotated_by": node_id,
            "annotated_at": TIME,
            "updated_at": TIME,
            "source_mtime": TIME,
            "source_size": 1,
        },
        "notification": {
            "_id": ids.notification_document_id(node_id, "disk_full"),
            "type": "notification",
            "source": {"node_id": node_id, "component": "cache"},
            "severity": "info",
            "title": "Full",
            "condition_key": "disk_full",
            "first_seen": TIME,
            "last_seen": TIME,
        },
    }
