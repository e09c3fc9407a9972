"""Signatures that do not hold are counted: by the key that they claim, and by the address they come from."""

from __future__ import annotations

from typing import Any

from mosaicfs_core.security import signatures
from mosaicfs_core.security.signatures import Target


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
