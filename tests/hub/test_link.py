"""Protects control planes that share a hub: their replicas converge whatever happens to the hub, its state is seen, and
the lease is held by one of them. The hub is a server that speaks CouchDB's protocol, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import parse_time
from mosaicfs_core.documents.ids import CONTROL_PLANE, node_document_id
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import HubAddress
from mosaicfs_core.replication import ConflictResolver, Surroundings
from mosaicfs_core.security.authority import Authority, ServerCertificate, server_context
from mosaicfs_core.server.hub import HubLink, Timing
from mosaicfs_core.server.identity import CONTROL_ROLE
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import assignment, file_document
from mosaicfs_plugins.couchdb.hub import CouchHub

pytestmark = pytest.mark.node

ADMIN = ("admin", "correct horse")
FAST = Timing(lasts_s=1.0, renew_s=0.05)
SOON = Surroundings(random=lambda: 0.0, sleep=lambda seconds: asyncio.sleep(min(seconds, 0.05)))
CHILD = Path(__file__).parent / "linked_child.py"
logger = logging.getLogger("mosaicfs.plugins.couchdb")


class Side:
    """A control plane: its replica and its link."""

    def __init__(self, store: Store, link: HubLink) -> None:
        self.store, self.link = store, link

    async def leaves(self) -> dict[str, set[str]]:
        changes = await self.store.read(lambda reader: reader.changes(0, 1_000_000))
        return {change.id: set(change.revs) for change in changes}


@asynccontextmanager
async def linked(store: Store, hub: CouchHub, url: str, holder: str, timing: Timing = FAST) -> AsyncIterator[HubLink]:
    """A link that runs."""
    link = HubLink(store, hub, url, holder, plugin="couchdb", timing=timing, surroundings=SOON)
    running = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def side(path: Path, url: str, who: tuple[str, str] = ADMIN, timing: Timing = FAST) -> AsyncIterator[Side]:
    """A control plane that runs; its replica stays in ``path``."""
    hub = CouchHub(HubAddress(url, *who), logger)
    async with await Store.open(path / "replica.db") as store, linked(store, hub, url, path.name, timing) as link:
        yield Side(store, link)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"control-plane-{letter}" for letter in "ab"]
    for place in found:
        place.mkdir()
    return found


@pytest.fixture
def url(server: Any, name: str) -> str:
    return f"{server.base}/{name}"


def histories(count: int, seed: int) -> list[dict[str, Any]]:
    """Label documents with branches of this seed's own on a trunk that all seeds share: conflicts wherever two meet."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        trunk = md5(str(number).encode()).hexdigest()
        length = chance.choice([0, 1, 3, 30])
        path = [*[md5(f"{number}{seed}{step}".encode()).hexdigest() for step in range(length, 0, -1)], trunk]
        deleted = {"_deleted": True} if length and chance.random() < 0.2 else {}
        body = {**assignment(f"/{number}", f"label {seed if length else 'of the trunk'}"), **deleted}
        made.append({**body, "_rev": f"{len(path)}-{path[0]}", "_revisions": {"start": len(path), "ids": path}})
    return made


async def test_two_that_share_a_hub_end_in_the_same_leaves(
    server: Any, name: str, url: str, places: list[Path], until: Any
) -> None:
    async with side(places[0], url) as a, side(places[1], url) as b:
        await a.store.bulk(histories(300, 1), new_edits=False)
        await b.store.bulk(histories(300, 2), new_edits=False)
        await a.store.put(file_document("/only in a"))

        async def level() -> bool:
            leaves = await a.leaves()
            return len(leaves) == 301 and leaves == await b.leaves() == await server.leaves(name)

        await until(level)
        assert (await a.store.info()).conflicts > 50
        assert not [one for one in await a.leaves() if one.startswith(("lease", "_design"))]
        for number in range(5):
            await a.store.put(file_document(f"/a/{number}"))
            await b.store.put(file_document(f"/b/{number}"))
        await until(lambda: _has(level, a, 311))
        resolvers = [ConflictResolver.for_writer(one.store, CONTROL_PLANE) for one in (a, b)]
        await asyncio.gather(*[one.settle_all() for one in resolvers])

        async def settled() -> bool:
            await asyncio.gather(*[one.settle_all() for one in resolvers])
            infos = [(await one.store.info()).conflicts for one in (a, b)]
            return infos == [0, 0] and await a.leaves() == await b.leaves() == await server.leaves(name)

        await until(settled)
        facts = a.link.facts()
        assert (facts["status"], facts["refused"], facts["last_error"]) == ("healthy", 0, None)
        assert facts["pushed"] > 0 < facts["pulled"]


async def _has(_level: Callable[[], Any], one: Side, count: int) -> bool:
    return len(await one.leaves()) == count


async def test_without_the_hub_everything_goes_on_and_catches_up(
    server: Any, name: str, url: str, places: list[Path], until: Any
) -> None:
    async with side(places[0], url) as a, side(places[1], url) as b:
        await a.store.put(file_document("/before"))
        await until(lambda: b.store.get(file_document("/before")["_id"]))
        await server.kill()
        await a.store.put(file_document("/a alone"))
        await b.store.put(file_document("/b alone"))

        async def noticed() -> bool:
            facts = a.link.facts()
            return a.link.status.last_error is not None and facts["state"] == "waiting"

        await until(noticed)
        facts = a.link.facts()
        assert facts["status"] == "degraded"
        assert "cannot be reached" in facts["last_error"]
        assert facts["detail"] == facts["last_error"]

        async def nobody_holds_it() -> bool:
            return not a.link.lease.held() and not b.link.lease.held()

        await until(nobody_holds_it)
        await server.start()  # with nothing in it: what it had comes back from the replicas

        async def level() -> bool:
            leaves = await a.leaves()
            return len(leaves) == 3 and leaves == await b.leaves() == await server.leaves(name)

        await until(level)

        async def well() -> bool:
            return [one.link.facts()["status"] for one in (a, b)] == ["healthy", "healthy"]

        await until(well)


async def test_a_hub_that_is_away_at_the_start_holds_nothing_up(
    server: Any, name: str, url: str, places: list[Path], until: Any
) -> None:
    await server.kill()
    async with side(places[0], url) as a:
        await a.store.put(file_document("/early"))

        async def tried() -> bool:
            return a.link.status.last_error is not None

        await until(tried)
        assert not a.link.status.prepared
        await server.start()

        async def there() -> bool:
            return a.link.status.prepared and set(await server.leaves(name)) == {file_document("/early")["_id"]}

        await until(there)


async def test_a_wire_that_is_cut_in_the_middle_of_things_loses_and_doubles_nothing(
    server: Any, wire: Any, name: str, places: list[Path], until: Any
) -> None:
    far = f"http://127.0.0.1:{wire.port}/{name}"
    async with side(places[0], far) as a, side(places[1], f"{server.base}/{name}") as b:
        await b.store.bulk(histories(400, 3), new_edits=False)
        await a.store.bulk(histories(400, 4), new_edits=False)
        for _ in range(5):
            wire.cut_after = wire.passed + 20_000
            await a.store.put(file_document(f"/while/{wire.passed}"))
            await until(lambda: _was_cut(wire))
        await wire.cut()
        await a.store.put(file_document("/while it is away"))
        await b.store.put(file_document("/on the other side"))

        async def noticed() -> bool:
            return a.link.status.last_error is not None

        await until(noticed)
        await wire.heal()

        async def level() -> bool:
            leaves = await a.leaves()
            away = {file_document(path)["_id"] for path in ("/while it is away", "/on the other side")}
            return away <= set(leaves) and leaves == await b.leaves() == await server.leaves(name)

        await until(level)


async def _was_cut(wire: Any) -> bool:
    return wire.cut_after is None


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_hub_behind_tls_must_show_a_certificate_of_its_authority(
    server: Any, make_wire: Any, name: str, tmp_path: Path, until: Any, trusted: bool
) -> None:
    home = Home(tmp_path / "hub").prepare()
    authority, own = Authority.of_home(home), ServerCertificate(home)
    own.ensure(authority, ["127.0.0.1"])
    wire = await make_wire(server_context(own.chain_file, own.key_file))
    url = f"https://127.0.0.1:{wire.port}/{name}"
    hub = CouchHub(HubAddress(url, *ADMIN, ca_pem=authority.pem if trusted else None), logger)
    async with await Store.open(tmp_path / "replica.db") as store, linked(store, hub, url, "control-plane-a") as link:
        await store.put(file_document("/a"))
        if trusted:

            async def arrived() -> bool:
                return link.status.prepared and len(await server.leaves(name)) == 1

            await until(arrived)
            return

        async def refused() -> bool:
            return link.status.last_error is not None

        await until(refused)
        assert "cannot be trusted" in link.facts()["detail"]
        assert "hub.ca_file" in link.facts()["detail"]


def refusals(caplog: pytest.LogCaptureFixture) -> int:
    """How often signing in was tried."""
    return sum("signing in to" in record.getMessage() for record in caplog.records)


@pytest.mark.logs("the hub cannot be used: .* does not accept user admin")
async def test_a_wrong_password_is_said_once_and_shown(
    server: Any, url: str, places: list[Path], until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger.name)
    async with side(places[0], url, ("admin", "no longer valid")) as a:

        async def tried() -> bool:
            return a.link.status.last_error is not None and refusals(caplog) > 5

        await until(tried)
        await a.store.put(file_document("/still works"))
        facts = a.link.facts()
        assert facts["status"] == "degraded"
        assert "does not accept user admin" in facts["detail"]
        assert not a.link.lease.held()
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "no longer valid" not in caplog.text


async def test_a_cluster_without_a_majority_replicates_and_gives_nobody_the_lease(
    server: Any, places: list[Path], until: Any
) -> None:
    async with side(places[0], f"{server.base}/quorum") as a:
        await a.store.put(file_document("/a"))

        async def there() -> bool:
            return a.link.facts()["state"] == "live" and len(await server.leaves("quorum")) == 1

        await until(there)
        assert "too few nodes" in a.link.facts()["detail"]
        assert a.link.facts()["status"] == "degraded"
        assert not a.link.lease.held()


async def test_design_documents_stay_on_the_hub_and_strangers_are_kept(
    server: Any, name: str, url: str, places: list[Path], until: Any
) -> None:
    async with side(places[0], url) as a:

        async def prepared() -> bool:
            return a.link.status.prepared

        await until(prepared)
        await server.ask("PUT", f"/{name}/_design/of-an-admin", {"views": {}})
        await server.ask("PUT", f"/{name}/{'file::x'}", {**file_document("/x"), "_id": "file::x"})
        await server.ask("PUT", f"/{name}/future", {"type": "future"})

        async def arrived() -> bool:
            return {"file::x", "future"} <= set(await a.leaves())

        await until(arrived)
        assert not [identifier for identifier in await a.leaves() if identifier.startswith("_design")]
        assert a.link.facts()["refused"] == 0


async def test_one_that_ends_is_missed_by_the_others_until_it_is_back(url: str, places: list[Path], until: Any) -> None:
    first, second = places
    timing = Timing(lasts_s=0.2, renew_s=0.05)
    planes = [
        {"_id": node_document_id(place.name), "type": "node", "node_id": place.name, "role": CONTROL_ROLE}
        | {"friendly_name": place.name, "status": "online"}
        for place in places
    ]

    async def silent(a: Side, expected: bool) -> bool:
        return a.link.silent(second.name) is expected

    async with side(first, url, timing=timing) as a:
        async with side(second, url, timing=timing):
            await a.store.bulk(planes)
            await until(lambda: _knows(a, second.name))
        await until(lambda: silent(a, True))
        assert not a.link.silent(first.name)
        async with side(second, url, timing=timing):
            await until(lambda: silent(a, False))


async def _knows(a: Side, plane: str) -> bool:
    """Whether it has seen the other's note."""
    return plane in a.link._presence._seen


async def test_the_lease_changes_hands_at_once_when_it_is_given_back(url: str, places: list[Path], until: Any) -> None:
    timing = Timing(lasts_s=2.0, renew_s=0.05)
    async with AsyncExitStack() as stack:
        async with side(places[0], url, timing=timing) as a:
            async with asyncio.timeout(30):
                await a.link.lease.wait()
            b = await stack.enter_async_context(side(places[1], url, timing=timing))

            async def known() -> bool:
                return "the lease is held by control-plane-a" in b.link.facts()["detail"]

            await until(known)
            assert b.link.facts()["lease"]["holder"] == "control-plane-a"
            assert "the lease is held by this control plane" in a.link.facts()["detail"]
        assert not a.link.lease.held()
        async with asyncio.timeout(timing.lasts_s / 2):
            await b.link.lease.wait()
        assert b.link.facts()["lease"]["term"] == 2


async def test_the_lease_of_one_that_is_killed_is_taken_over(url: str, places: list[Path], until: Any) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(places[0]), url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    while not json.loads(await process.stdout.readline())["held"]:
        pass
    async with side(places[1], url) as b:

        async def known() -> bool:
            return b.link.facts()["lease"]["holder"] == places[0].name

        await until(known)
        first = last = json.loads(await process.stdout.readline())
        while parse_time(last["until"]) - parse_time(first["until"]) < 2_000_000 * FAST.lasts_s:
            assert last["held"]  # it is renewed, so it does not run out
            assert not b.link.lease.held()
            last = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async with asyncio.timeout(30):
            await b.link.lease.wait()
        facts = b.link.facts()["lease"]
        assert (facts["holder"], facts["term"]) == ("control-plane-b", last["term"] + 1)
