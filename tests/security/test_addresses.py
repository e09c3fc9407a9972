from __future__ import annotations

import pytest

from mosaicfs_core.security.addresses import is_loopback, names_this_machine


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_addresses_of_this_machine(address: str) -> None:
    assert is_loopback(address)
    assert names_this_machine(address)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.27", "fe80::1%eth0", "2001:db8::127", "::ffff:10.0.0.1", "", "localhost.example", "127.x"],
)
def test_addresses_beyond(address: str) -> None:
    assert not is_loopback(address)
    assert not names_this_machine(address)


def test_a_name_is_no_address() -> None:
    assert names_this_machine("localhost")
    assert not is_loopback("localhost")
    assert not names_this_machine(None)
