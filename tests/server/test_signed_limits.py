"""Signatures that do not hold are counted: by the key that they claim, and by the address they come from."""

from __future__ import annotations

from typing import Any

from mosaicfs_core.security import signatures, user_keys
from mosaicfs_core.security.signatures import Target
from mosaicfs_core.server.auth import credentials
from mosaicfs_core.server.auth.limits import Proven


def forged(number: int) -> dict[str, str]:
    """A well-formed header of a key that nobody has."""
    target = Target(method="GET", destination="control-plane", path="/api/nodes")
    return {"Authorization": signatures.authorization(b"k" * 32, f"MOSAICFS_{number:016x}", target)}


async def test_who_tries_many_keys_is_stopped_by_address(instance: Any) -> None:
    async def attempt(number: int, address: str) -> Any:
        return await instance.ask("GET", "/api/nodes", token=None, headers=forged(number), address=address)

    answers = [await attempt(number, f"2001:db8::{number % 7 + 1:x}") for number in range(70)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:60] == [401] * 60
    assert statuses[-1] == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert (await attempt(0, "192.0.2.1")).status_code == 401
    # All users of this machine share its loopback: many keys from there stop nobody.
    assert {(await attempt(100 + number, "127.0.0.1")).status_code for number in range(70)} == {401}
    # And whoever has a key that holds is not held up by attempts with others from his own machine.
    assert (await instance.ask("GET", "/api/nodes")).status_code == 200


async def test_the_replication_endpoint_says_429_as_well(instance: Any) -> None:
    asked = [
        await instance.ask("GET", "/db/mosaicfs", token=None, headers=forged(number), address="192.0.2.9")
        for number in range(70)
    ]
    assert {answer.status_code for answer in asked} == {401, 429}
    body = await asked[-1].get_json()
    assert body["error"] == "too_many_requests"
    assert int(asked[-1].headers["Retry-After"]) >= 1


async def test_who_proved_himself_is_not_held_up_by_others_at_his_address(instance: Any) -> None:
    """A house has one address, and a machine in it whose key was revoked goes on trying."""
    made = await credentials.create(instance.server, "script", "user")
    key_id = made.document["access_key_id"]
    key = user_keys.derive_signing_key(key_id, made.secret_key)
    house = {"token": None, "address": "192.0.2.7"}

    async def right() -> int:
        target = Target(method="GET", destination="control-plane", path="/api/nodes")
        headers = {"Authorization": signatures.authorization(key, key_id, target)}
        return int((await instance.ask("GET", "/api/nodes", headers=headers, **house)).status_code)

    async def wrong(number: int) -> int:
        return int((await instance.ask("GET", "/api/nodes", headers=forged(number), **house)).status_code)

    assert await right() == 200
    assert {await wrong(number) for number in range(70)} == {401, 429}
    assert await right() == 200
    assert await wrong(1000) == 429


def test_those_who_proved_themselves_are_remembered_within_bounds() -> None:
    proven = Proven(2)
    for caller in ("a", "b", "a", "c"):
        proven.add(caller)
    assert [caller in proven for caller in "abc"] == [True, False, True]
