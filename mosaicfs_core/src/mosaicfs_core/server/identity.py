"""Who this control plane is: its node id, its key, and what checks the requests that are signed for it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import NotAllowed
from mosaicfs_core.home import Home, write_private
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.security import enrolment
from mosaicfs_core.security.authority import Authority
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.verifier import Verifier
from mosaicfs_core.server.auth import keys
from mosaicfs_core.store import Store

CONTROL_ROLE: Final = "control-plane"


@dataclass(frozen=True)
class Identity:
    """This process: its node id, its key pair, and the home that holds its authority. An agent, which serves its API
    for its own machine, has no authority and enrols nobody."""

    node_id: str
    key: NodeKey
    home: Home
    control_plane: bool = True

    @cached_property
    def authority(self) -> Authority:
        """The instance's certificate authority, made at first need. Raises ``NotAllowed`` on an agent."""
        if not self.control_plane:
            raise NotAllowed("this is an agent; ask its control plane")
        return Authority.of_home(self.home)


async def identity_of(core: CoreServices) -> Identity:
    """The control plane that lives in this home, made on first use; of an enrolled home, its agent."""
    key = NodeKey.of_home(core.home)
    if enrolment.load(core.home) is not None:
        return Identity(core.node_id, key, core.home, control_plane=False)
    return Identity(await _control_plane_id(core, key), key, core.home)


async def control_planes(store: Store) -> frozenset[str]:
    """The node ids of all control planes that the replica knows of and that were not disabled."""
    found = await store.read(lambda reader: reader.documents_of("node"))
    planes = [node for node in found if node.get("role") == CONTROL_ROLE and node.get("status") != "disabled"]
    return frozenset(node["node_id"] for node in planes)


def verifier(core: CoreServices, identity: Identity, wrapping_key: bytes) -> Verifier:
    """What checks signed requests to this process, which answers as the control plane and as the node of its home."""

    def user_key(credential: Mapping[str, Any]) -> bytes:
        return keys.unwrap_signing_key(wrapping_key, credential["access_key_id"], str(credential["signing_key"]))

    return Verifier(core.store.get, (identity.node_id, core.node_id), identity.key, user_key=user_key)


async def _control_plane_id(core: CoreServices, key: NodeKey) -> str:
    """The node id that was noted, or that of a document which this home may have written before, or a new one."""
    file = core.home.control_plane_id_file
    if file.exists():
        return file.read_text("utf-8").strip()
    present = await core.store.read(lambda reader: list(reader.documents_of("node")))
    # Several control planes may share one hub: what carries another public key is another's.
    own = (
        node["node_id"]
        for node in present
        if node.get("role") == CONTROL_ROLE and node.get("public_key") in (None, key.public)
    )
    made: str = next(own, None) or ids.new_control_plane_id(core.config.agent.name or socket.gethostname())
    write_private(file, f"{made}\n".encode())
    return made
