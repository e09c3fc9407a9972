"""Protects sealed values: one key opens them, at one place, and nothing is to be seen of them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core.errors import UserError
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.sealing import is_sealed, seal, unseal

OWN, OTHER = NodeKey.generate(), NodeKey.generate()
PLACE = "plugin::node-laptop-aaaa::mailbox"
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda part: st.lists(part))


@given(VALUES)
@settings(max_examples=50, deadline=None)
def test_what_was_sealed_is_opened(value: object) -> None:
    sealed = seal(value, OWN.public, PLACE)
    assert is_sealed(sealed)
    assert unseal(sealed, OWN, PLACE) == value
    assert seal(value, OWN.public, PLACE) != sealed


def test_another_key_or_place_opens_nothing() -> None:
    sealed = seal("hunter2", OWN.public, PLACE)
    assert "hunter2" not in sealed + str(base64.urlsafe_b64decode(sealed.removeprefix("sealed1.")))
    for key, place in ((OTHER, PLACE), (OWN, "plugin::node-laptop-aaaa::other")):
        with pytest.raises(UserError, match="another key"):
            unseal(sealed, key, place)


@pytest.mark.parametrize("damage", ["", "AAAA", "not base64!", "A" * 43 + "=", "\u00e9", "A" * 200])
def test_what_is_damaged_is_refused(damage: str) -> None:
    with pytest.raises(UserError):
        unseal(f"sealed1.{damage}", OWN, PLACE)


def test_every_changed_byte_is_noticed() -> None:
    raw = bytearray(base64.urlsafe_b64decode(seal("hunter2", OWN.public, PLACE).removeprefix("sealed1.")))
    for at in range(len(raw)):
        changed = bytes(raw[:at]) + bytes([raw[at] ^ 1]) + bytes(raw[at + 1 :])
        with pytest.raises(UserError):
            unseal("sealed1." + base64.urlsafe_b64encode(changed).decode(), OWN, PLACE)


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(bytes(32)).decode()])
def test_a_key_that_is_none_seals_nothing(key: str) -> None:
    with pytest.raises(UserError, match="public key"):
        seal("hunter2", key, PLACE)


@pytest.mark.parametrize("value", ["sealed", "", None, 1, {"set": True}])
def test_what_is_not_sealed(value: object) -> None:
    assert not is_sealed(value)
