"""A control plane on a real socket, and the ways to ask it: as an agent that enrols, as a node, as a user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from quart import Quart

from mosaicfs_core.config import Config, ServerConfig
from mosaicfs_core.home import Home
from mosaicfs_core.security import joining
from mosaicfs_core.security.enrolment import Enrolment
from mosaicfs_core.security.node_keys import NodeKey, Signer
from mosaicfs_core.security.requests import PlainRequests, SignedRequests
from mosaicfs_core.security.user_keys import UserSigner
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.auth import credentials
from mosaicfs_core.server.serve import bind, serving
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.testing.harness import Harness


class ControlPlane:
    """A running control plane at ``url``."""

    def __init__(self, app: Quart, harness: Harness, url: str) -> None:
        self.app = app
        self.harness = harness
        self.url = url
        self.opened: list[PlainRequests] = []

    @property
    def server(self) -> ServerState:
        """What its routes share."""
        state: ServerState = self.app.extensions[EXTENSION]
        return state

    @property
    def ca_pem(self) -> str:
        """Its authority."""
        return self.server.identity.authority.pem

    async def key(self, kind: Any = "agent") -> tuple[str, str]:
        """A new access key: its id and its secret."""
        made = await credentials.create(self.server, "a key", kind)
        return made.document["access_key_id"], made.secret_key

    def as_signer(self, signer: Signer, destination: str | None = None) -> SignedRequests:
        """Requests signed by somebody."""
        made = SignedRequests(self.url, destination or self.server.identity.node_id, signer, self.ca_pem)
        self.opened.append(made)
        return made

    async def as_user(self, kind: Any = "user") -> SignedRequests:
        """Requests signed with a new access key."""
        return self.as_signer(UserSigner.from_secret(*await self.key(kind)), "control-plane")

    async def enrol(self, home: Home, key: tuple[str, str] | None = None, name: str = "Laptop") -> Enrolment:
        """Enrol a home with a new access key, or with one given."""
        signer = UserSigner.from_secret(*(key or await self.key()))
        return await joining.join(home.prepare(), self.url, self.ca_pem, signer, name)

    def as_node(self, home: Home, known: Enrolment) -> SignedRequests:
        """Requests signed by an enrolled home's node."""
        return self.as_signer(joining.signer_of(known, NodeKey.of_home(home)))

    def plain(self, **headers: str) -> PlainRequests:
        """Requests that nobody signs."""
        made = PlainRequests(self.url, headers, self.ca_pem)
        self.opened.append(made)
        return made

    async def status_of(self, requests: PlainRequests, method: str, path: str, **given: Any) -> tuple[int, Any]:
        """Status and decoded body of an answer."""
        async with requests.request(method, path, timeout=20, **given) as answer:
            return answer.status, msgspec.json.decode(await answer.read() or b"null")


@asynccontextmanager
async def running_control_plane(home: Path, **server: Any) -> AsyncIterator[ControlPlane]:
    """A control plane over TLS on loopback, unless told otherwise."""
    config = ServerConfig(**{"port": 0, "tls": "on", **server})
    listener = bind(config)
    async with Harness.start(home, safe_mode=True) as harness:
        harness.core.config = msgspec.structs.replace(Config(), server=config)
        async with running_app(harness.core) as app, serving(app, listener, harness.home) as url:
            made = ControlPlane(app, harness, url)
            try:
                yield made
            finally:
                for requests in made.opened:
                    await requests.close()


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """A control plane over TLS on loopback."""
    async with running_control_plane(tmp_path / "control") as running:
        yield running


@pytest.fixture
def laptop(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "laptop")


@pytest.fixture
def running() -> Callable[..., Any]:
    """``running_control_plane``."""
    return running_control_plane
