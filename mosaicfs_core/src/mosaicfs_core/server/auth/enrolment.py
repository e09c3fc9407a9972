"""How a machine becomes a node: its key is bound to an id, and an agent's access key to the machine.

The first registration binds an access key for good. The same machine (the same public key) may register again whenever
it likes and gets its own id; another machine with the same access key is refused. A further access key that its owner
gives to a machine takes the place of one that was revoked, and of no other. A certificate is given to who has
proven to hold the node's private key, or to a node that did not exist before: whoever merely knows another machine's
public key and has an access key must not get that machine's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.standing import key_of, why_disabled
from mosaicfs_core.errors import Conflict, NotAllowed, NotSignedIn, UserError
from mosaicfs_core.security.node_keys import is_public_key
from mosaicfs_core.server.identity import CONTROL_ROLE
from mosaicfs_core.server.state import Principal, ServerState
from mosaicfs_core.server.stored import documents_of
from mosaicfs_core.store import WriteTransaction

_PREFIX: Final = "node-"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine says of itself. ``node_id`` is the id that it would like to have."""

    name: str
    platform: str
    public_key: str
    node_id: str | None = None


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """Under which id and name a machine is known. ``proven``: the caller may have a certificate for it. ``binds``: the
    access key that the caller signed with is this machine's from now on."""

    node_id: str
    name: str
    created: bool
    proven: bool
    access_key_id: str | None
    binds: bool = False


def decide(
    asked: Registration,
    caller: Principal,
    credential: Mapping[str, Any] | None,
    nodes: Sequence[Mapping[str, Any]],
    own_ids: Sequence[str],
    revoked: Callable[[Mapping[str, Any]], bool],
) -> Registered:
    """What a registration comes to. Pure but for the random part of a new id.

    ``credential`` is the agent's access key that the caller signed with, or None; ``revoked`` says of a node whether
    its own access key does not hold any more. Raises ``Conflict`` for a second
    machine and for an id that is taken, ``NotAllowed`` for a machine that was disabled.
    """
    if not is_public_key(asked.public_key):
        raise UserError("public_key: expected the 32 bytes of an X25519 public key in base64", field="public_key")
    by_id = {node["node_id"]: node for node in nodes}
    same = next((node for node in nodes if node.get("public_key") == asked.public_key), None)
    if same is not None and same["node_id"] in own_ids:
        raise Conflict("this is the machine that the control plane runs on; it needs no enrolment")
    if same is not None and same.get("status") == "disabled":
        raise NotAllowed(f"the node {same['node_id']} was disabled; enable it again first")
    if caller.kind == "node":
        if same is None or same["node_id"] != caller.node_id:
            raise Conflict(
                f"{caller.node_id} is known by another public key; to change it, enrol with a new access key"
            )
        return _known(same, proven=True)
    bound = None if credential is None else credential.get("node_id")
    if bound is not None and (same is None or same["node_id"] != bound):
        name = by_id.get(bound, {}).get("friendly_name", bound)
        raise Conflict(
            f"this access key belongs to another machine already: {name} ({bound}); make one for this machine with"
            " mosaicfs credentials create NAME --kind agent",
            node_id=bound,
        )
    if same is not None:
        further = credential["access_key_id"] if credential is not None and bound is None else None
        return _known(same, proven=False) if further is None else _with_further(same, further, revoked=revoked(same))
    return Registered(
        node_id=_new_id(asked, by_id),
        name=free_name(asked.name, nodes),
        created=True,
        proven=True,
        access_key_id=None if credential is None else credential["access_key_id"],
        binds=credential is not None,
    )


def has_name(node: Mapping[str, Any], name: str) -> bool:
    """Whether a machine is called so. A control plane shares the name of the machine that it runs on."""
    return node.get("friendly_name") == name and node.get("role") != CONTROL_ROLE


def free_name(wanted: str, nodes: Sequence[Mapping[str, Any]]) -> str:
    """A name that no machine has: the wanted one, or that with the first free number behind it."""
    name, number = wanted, 1
    while any(has_name(node, name) for node in nodes):
        number += 1
        name = f"{wanted}-{number}"
    return name


async def register(server: ServerState, caller: Principal, asked: Registration) -> Registered:
    """Register a machine: its node document and the binding of the access key, both or neither."""
    own_ids = (server.identity.node_id, server.core.node_id)
    async with server.enrolling:  # so that two machines with one key come one after the other
        nodes = await documents_of(server.core.store, "node")

        def write(tx: WriteTransaction) -> Registered:
            credential = None
            if caller.kind == "agent" and caller.access_key_id is not None:
                credential = tx.get(ids.credential_document_id(caller.access_key_id))
                if credential is None or not credential["enabled"]:
                    raise NotSignedIn("this access key was disabled")

            def revoked(node: Mapping[str, Any]) -> bool:
                key = key_of(node)
                return key is not None and bool(why_disabled(node, tx.get(key)))

            found = decide(asked, caller, credential, nodes, own_ids, revoked)
            if found.created:
                tx.put(_node_document(asked, found))
            elif found.binds:
                tx.update(ids.node_document_id(found.node_id), lambda node: _with_key(node, found.access_key_id))
            if found.binds and credential is not None:
                tx.put({**credential, "node_id": found.node_id})
            return found

        return await server.core.store.transaction(write)


def _known(node: Mapping[str, Any], *, proven: bool) -> Registered:
    return Registered(
        node_id=node["node_id"],
        name=node["friendly_name"],
        created=False,
        proven=proven,
        access_key_id=node.get("access_key_id"),
    )


def _with_further(node: Mapping[str, Any], access_key_id: str, *, revoked: bool) -> Registered:
    """A machine that is known and comes with a further access key. Raises ``Conflict`` while its own holds."""
    if revoked:
        return replace(_known(node, proven=False), access_key_id=access_key_id, binds=True)
    known_as = node["node_id"]
    raise Conflict(
        f"this machine is known already, as {known_as}: it proves itself with its own key", known_as=known_as
    )


def _with_key(node: Mapping[str, Any] | None, access_key_id: str | None) -> dict[str, Any] | None:
    """A node that a further access key lets in, in place of the one that was revoked."""
    if node is None:
        return None
    return {**node, "access_key_id": access_key_id, "control_version": node.get("control_version", 0) + 1}


def _new_id(asked: Registration, taken: Mapping[str, Any]) -> str:
    if asked.node_id is not None:
        if not asked.node_id.startswith(_PREFIX):
            raise UserError(f"node_id: expected one that begins with {_PREFIX}", field="node_id")
        if asked.node_id in taken:
            raise Conflict(
                f"the id {asked.node_id} belongs to a machine with another key; without the file node_id in its home"
                " this machine gets an id of its own",
                node_id=asked.node_id,
            )
        return asked.node_id
    while (made := ids.new_node_id(asked.name)) in taken:
        continue
    return made


def _node_document(asked: Registration, found: Registered) -> dict[str, Any]:
    return {
        "_id": ids.node_document_id(found.node_id),
        "type": "node",
        "node_id": found.node_id,
        "node_kind": "physical",
        "friendly_name": found.name,
        "platform": asked.platform,
        "status": "offline",
        "public_key": asked.public_key,
        "agent_version": 0,
        "control_version": 1,
        **({} if found.access_key_id is None else {"access_key_id": found.access_key_id}),
    }
