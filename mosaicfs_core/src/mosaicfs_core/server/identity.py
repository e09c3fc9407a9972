"""Who this control plane is: its node id, its key, and what checks the requests that are signed for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mosaicfs_core.documents import ids
from mosaicfs_core.home import write_private
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.verifier import Verifier
from mosaicfs_core.server.auth import keys

CONTROL_ROLE: Final = "control-plane"


async def control_plane_id(core: CoreServices, node_key: NodeKey) -> str:
    """The node id of the control plane in this home: as it was noted, or that of a document which this home may have
    written before it was noted, or a new one."""
    file = core.home.control_plane_id_file
    if file.exists():
        return file.read_text("utf-8").strip()
    present = await core.store.read(lambda reader: list(reader.documents_of("node")))
    own = (node for node in present if node.get("role") == CONTROL_ROLE)
    # Several control planes may share one hub: what carries another public key is another's.
    found = next((node["node_id"] for node in own if node.get("public_key") in (None, node_key.public)), None)
    made: str = found or ids.new_control_plane_id(core.config.agent.name or core.node_id.removeprefix("node-"))
    write_private(file, f"{made}\n".encode())
    return made


def verifier(core: CoreServices, node_key: NodeKey, control_id: str, wrapping_key: bytes) -> Verifier:
    """What checks signed requests to this process, which answers as the control plane and as the node of its home."""

    def user_key(credential: Mapping[str, Any]) -> bytes:
        return keys.unwrap_signing_key(wrapping_key, credential["access_key_id"], str(credential["signing_key"]))

    return Verifier(core.store.get, (control_id, core.node_id), node_key, user_key=user_key)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """This control plane: its node id and its key pair."""

    node_id: str
    key: NodeKey


async def identity_of(core: CoreServices) -> Identity:
    """The control plane that lives in this home, made on first use."""
    key = NodeKey.of_home(core.home)
    return Identity(node_id=await control_plane_id(core, key), key=key)
