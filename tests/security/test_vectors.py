"""The protocol's forms, pinned: both sides of a connection may run different versions, and must agree on every byte."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mosaicfs_core.errors import NotAllowed, UserError
from mosaicfs_core.home import Home
from mosaicfs_core.security import signatures, user_keys
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner, is_public_key

NOW = 1_700_000_000_000_000
NONCE = "AAECAwQFBgcICQoLDA0ODw"
TARGET = signatures.Target(
    method="PUT",
    destination="control-plane-nas-aaaa",
    path="/api/files/x%2Fy?a=1&b=%C3%BC",
    range="bytes=0-99",
    body_sha256=signatures.sha256_of(b"the body"),
)


def node_key(byte: int) -> NodeKey:
    return NodeKey(X25519PrivateKey.from_private_bytes(bytes([byte]) * 32))


def test_the_signed_text() -> None:
    text = signatures.canonical(TARGET, "node-laptop-aaaa", "2023-11-14T22:13:20.000000Z", NONCE)
    assert text.decode().split("\n") == [
        "MOSAICFS-HMAC-SHA256",
        "node-laptop-aaaa",
        "PUT",
        "control-plane-nas-aaaa",
        "/api/files/x%2Fy?a=1&b=%C3%BC",
        "2023-11-14T22:13:20.000000Z",
        NONCE,
        "bytes=0-99",
        "fa8242e99f48966ca514092b4233b446851f42b57ad5031bf133e1dd76787f3e",
    ]


def test_the_header() -> None:
    header = signatures.authorization(b"k" * 32, "node-laptop-aaaa", TARGET, now=NOW, nonce=NONCE)
    assert header == (
        "MOSAICFS-HMAC-SHA256 AccessKeyId=node-laptop-aaaa, Timestamp=2023-11-14T22:13:20.000000Z,"
        f" Nonce={NONCE}, Signature=af4d3f7a15a02bde077a48d9e494dc87df3f029caa0e3a04153551213770bcee"
    )


def test_the_key_of_two_nodes() -> None:
    one, other = node_key(1), node_key(2)
    assert one.public == "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk="
    shared = one.shared_with("node-a-aaaa", "control-plane-b-bbbb", other.public)
    assert shared.hex() == "46bcc97b55e2bd50cdb871a14a2213aaf7fe561a416bb38d54dbe62f33996fa0"
    assert other.shared_with("control-plane-b-bbbb", "node-a-aaaa", one.public) == shared
    assert one.shared_with("node-a-aaaa", "node-b-bbbb", other.public) != shared
    assert one.shared_with("node-c-cccc", "control-plane-b-bbbb", other.public) != shared


def test_the_key_of_a_user() -> None:
    key = user_keys.derive_signing_key("MOSAICFS_0123456789abcdef", "mosaicfs_" + "A" * 43)
    assert key.hex() == "1c5a952dc226c9b2dc98f053c25b009914f7b871daf9d6bd6a20207fdadb59b7"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk",
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        base64.b64encode(bytes(32)).decode(),
        base64.b64encode(b"\1" + bytes(31)).decode(),
        "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=\n",
        "\ud800",
        "ü" * 44,
    ],
)
def test_no_key_at_all_or_one_that_everybody_shares_is_refused(text: str) -> None:
    """Points of low order give the same secret with every key."""
    assert not is_public_key(text)
    with pytest.raises(UserError):
        node_key(1).shared_with("a", "b", text)


def test_a_home_keeps_its_key_to_itself(tmp_path: object) -> None:
    home = Home(str(tmp_path) + "/home").prepare()
    made = NodeKey.of_home(home)
    assert NodeKey.of_home(home).public == made.public
    assert home.node_key_file.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(home.node_key_file.read_bytes())) == 32
    assert base64.b64decode(home.node_key_file.read_bytes()).hex() not in repr(made)
    home.node_key_file.write_text("nonsense")
    with pytest.raises(UserError, match="damaged"):
        NodeKey.of_home(home)


def test_nothing_is_signed_for_a_node_nobody_has_heard_of() -> None:
    signer = NodeSigner("node-a-aaaa", node_key(1), {}.get)
    with pytest.raises(NotAllowed, match="node-b-bbbb is not known here"):
        signer.key_for("node-b-bbbb")
