"""Protects the CouchDB hub: what it makes of a server at first, whom it lets in, and that notes are swapped and not
overwritten. Against a server that speaks CouchDB's protocol."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mosaicfs_core.hooks import Hub, HubAddress, NotAllowed, NotFound, NotSignedIn, Stale, Unavailable
from mosaicfs_plugins.couchdb import mosaicfs_hub
from mosaicfs_plugins.couchdb.hub import CouchHub

pytestmark = pytest.mark.node

ADMIN = ("admin", "correct horse")
WRITER = ("writer", "battery staple")
NOTE = "lease::control-plane"
MakeHub = Callable[..., Hub]


@pytest.fixture
async def hub(server: Any, name: str) -> AsyncIterator[MakeHub]:
    """Makes hubs of the test's database; all are closed at the end."""
    made: list[Hub] = []

    def make(who: tuple[str, str] = ADMIN, database: str = name, base: str = "") -> Hub:
        address = HubAddress(f"{base or server.base}/{database}", *who)
        made.append(CouchHub(address, logging.getLogger("mosaicfs.plugins.couchdb")))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def test_it_is_a_hub_and_says_how_to_replicate(hub: MakeHub, server: Any, name: str) -> None:
    one = hub()
    assert isinstance(one, Hub)
    access = one.access()
    assert (access.base_url, access.path) == (server.base, f"/{name}")
    assert access.headers["Authorization"].startswith("Basic ")
    assert ADMIN[1] not in repr(one) + repr(access) + repr(HubAddress("http://h/x", *ADMIN))
    assert access.headers["Authorization"] not in repr(access)
    behind = hub(base="https://proxy.example:6984/couch", database="mosaicfs").access()
    assert (behind.base_url, behind.path) == ("https://proxy.example:6984/couch", "/mosaicfs")


async def test_at_first_use_it_makes_restricts_and_indexes(hub: MakeHub, server: Any, name: str) -> None:
    one = hub()
    await one.prepare()
    for database in (name, f"{name}-notes"):
        rules = await server.ask("GET", f"/{database}/_security")
        assert rules["members"]["names"] == ["admin"]
        assert rules["members"]["roles"] == rules["admins"]["roles"] == ["_admin"]
    found = await server.ask("GET", f"/{name}/_index")
    assert {"by-type", "by-node"} <= {index["name"] for index in found["indexes"]}
    await server.ask("PUT", f"/{name}/_security", {"admins": {}, "members": {"names": ["somebody"], "roles": []}})
    before = await server.ask("GET", f"/{name}")
    await one.prepare()
    assert (await server.ask("GET", f"/{name}/_security"))["members"]["names"] == ["somebody"]
    assert (await server.ask("GET", f"/{name}"))["update_seq"] == before["update_seq"]


async def test_a_user_who_is_no_admin_uses_what_an_admin_has_made(hub: MakeHub, server: Any, name: str) -> None:
    with pytest.raises(NotAllowed, match=f"has no database {name}, and writer may not make one"):
        await hub(WRITER).prepare()
    for database in (name, f"{name}-notes"):
        await server.ask("PUT", f"/{database}")
    with pytest.raises(NotAllowed, match=f"anybody may read .*{name}, and writer may not restrict it"):
        await hub(WRITER).prepare()
    for database in (name, f"{name}-notes"):
        await server.ask("PUT", f"/{database}/_security", {"members": {"names": ["writer"], "roles": []}})
    one = hub(WRITER)
    await one.prepare()
    assert (await one.swap(NOTE, {"term": 1}, None)).startswith("1-")


@pytest.mark.parametrize(
    ("who", "told"),
    [
        (("admin", "wrong"), "does not accept user admin"),
        (("nobody", "wrong"), "does not accept user nobody"),
        (("", ""), "does not accept somebody who does not sign in"),
    ],
)
async def test_wrong_credentials_are_told_apart_from_a_hub_that_is_away(
    hub: MakeHub, server: Any, who: tuple[str, str], told: str
) -> None:
    for attempt in (hub(who).prepare, lambda: hub(who).read(NOTE), lambda: hub(who).swap(NOTE, {}, None)):
        with pytest.raises(NotSignedIn) as caught:
            await attempt()
        assert caught.value.message.startswith(server.base)
        assert told in caught.value.message
        assert not who[1] or who[1] not in caught.value.message
    with pytest.raises(Unavailable, match="cannot be reached"):
        await hub(base="http://127.0.0.1:9").prepare()


async def test_a_note_is_replaced_only_over_the_version_that_was_read(hub: MakeHub, name: str, server: Any) -> None:
    one, other = hub(), hub()
    with pytest.raises(NotFound):
        await one.read(NOTE)
    await one.prepare()
    assert await one.read(NOTE) is None
    first = await one.swap(NOTE, {"term": 1}, None)
    with pytest.raises(Stale):
        await other.swap(NOTE, {"term": 1}, None)
    assert await other.read(NOTE) == (first, {"term": 1})
    second = await other.swap(NOTE, {"term": 2}, first)
    with pytest.raises(Stale):
        await one.swap(NOTE, {"term": 3}, first)
    assert await one.read(NOTE) == (second, {"term": 2})
    assert NOTE not in await server.leaves(name)


async def test_a_write_without_a_majority_does_not_count(hub: MakeHub) -> None:
    one = hub(database="quorum")
    await one.prepare()
    with pytest.raises(Unavailable, match="too few nodes"):
        await one.swap(NOTE, {"term": 1}, None)


async def test_it_goes_on_after_the_server_was_lost(hub: MakeHub, server: Any) -> None:
    one = hub()
    await one.prepare()
    await server.kill()
    with pytest.raises(Unavailable):
        await one.read(NOTE)
    await server.start()
    with pytest.raises(NotFound):
        await one.read(NOTE)
    await one.prepare()
    assert await one.read(NOTE) is None


def test_other_addresses_are_left_to_others() -> None:
    assert mosaicfs_hub(None, HubAddress("postgres://there/x")) is None


@pytest.mark.logs("is not encrypted")
def test_a_password_on_an_open_wire_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("mosaicfs.plugins.couchdb")
    for url in ("http://localhost:5984/x", "http://127.0.0.1/x", "http://[::1]:5984/x", "https://there/x"):
        CouchHub(HubAddress(url), logger)
    assert not caplog.records
    CouchHub(HubAddress("http://couch.example:5984/x"), logger)
    assert "http://couch.example:5984/x" in caplog.text
