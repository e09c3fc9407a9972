"""Protects a machine that knows its control plane by several addresses: one that does not work holds nothing up."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaicfs_core.cli.enrolled import control_plane_of
from mosaicfs_core.home import Home
from mosaicfs_core.security import enrolment, joining
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner
from mosaicfs_core.security.requests import PlainRequests, SignedRequests, Unreachable, Untrusted
from mosaicfs_core.security.several import Several

WHOAMI = "/api/auth/whoami"


def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{found.getsockname()[1]}"


class Noting(SignedRequests):
    """Notes each use."""

    used: list[str]

    def _headers_for(self, *given: Any) -> dict[str, str]:
        self.used.append(self.base_url)
        return super()._headers_for(*given)


async def test_an_enrolled_machine_takes_the_next_address(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    enrolment.save(laptop, msgspec.structs.replace(known, urls=(nowhere(), nowhere(), known.urls[0])))
    plane = control_plane_of(laptop)
    async with plane.requests.request("GET", WHOAMI) as answer:
        assert (answer.status, (await answer.json())["node_id"]) == (200, known.node_id)
    async with plane.connect() as link:
        await link.send('{"id": 1, "method": "ping", "params": {}}')
        assert await link.receive()
    await plane.requests.close()


async def test_what_worked_is_tried_first_and_a_link_begins_at_the_front(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    signer, used = joining.signer_of(known, NodeKey.of_home(laptop)), []
    ways = [Noting(url, known.control_plane_id, signer, known.ca_pem) for url in (nowhere(), known.urls[0])]
    for way in ways:
        way.used = used
    both = Several(ways)
    for _ in range(2):
        async with both.request("GET", WHOAMI) as answer:
            assert answer.status == 200
    dead, alive = (way.base_url for way in ways)
    assert used == [dead, alive, alive]
    used.clear()
    async with both.websocket("/api/agent/link"):
        assert used == [dead, alive]
    await both.close()


async def test_an_error_inside_an_answer_is_no_reason_to_ask_elsewhere(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    signer = joining.signer_of(known, NodeKey.of_home(laptop))
    both = Several([SignedRequests(url, known.control_plane_id, signer, known.ca_pem) for url in known.urls * 2])
    with pytest.raises(Unreachable, match="broke off"):
        async with both.request("GET", WHOAMI):
            raise Unreachable("it broke off")
    await both.close()


async def test_who_does_not_answer_anywhere_is_told_with_all_addresses(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    dead = (nowhere(), nowhere())
    nobody = Several([PlainRequests(url, ca_pem=known.ca_pem) for url in dead])
    with pytest.raises(Unreachable) as told:
        async with nobody.request("GET", WHOAMI):
            pass
    assert all(url in told.value.message for url in dead)
    await nobody.close()
    # Another machine at one of the addresses is what a person has to know of first.
    signer = NodeSigner(known.node_id, NodeKey.of_home(laptop), lambda _: known.control_plane_key)
    other = [SignedRequests(url, "node-other-aaaa", signer, known.ca_pem) for url in (dead[0], known.urls[0])]
    with pytest.raises(Untrusted, match="cannot be trusted"):
        async with Several(other).request("GET", WHOAMI):
            pass
    for one in other:
        await one.close()


def test_a_home_that_was_enrolled_before_places_were_noted_is_none_that_moved(tmp_path: Path) -> None:
    assert (
        msgspec.json.decode(
            b'{"urls": ["https://nas"], "node_id": "n", "name": "", "control_plane_id": "c", "control_plane_key": "",'
            b' "ca_pem": ""}',
            type=enrolment.Enrolment,
        ).place
        is None
    )
