"""Protects replication from settings that a control plane does not take back: whatever it answers, recovery goes on,
and what was not taken is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import offering
from mosaicfs_core.agent.offering import TOGETHER_BYTES, TOLD_DAYS, Offered
from mosaicfs_core.documents import times
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.errors import MosaicError, NotFound, NotSignedIn, Unavailable, UserError
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE

pytestmark = pytest.mark.logs("restored or made anew|used alone before")
THEN = "2026-01-01T00:00:00.000000Z"
NOWHERE = PlainRequests("http://127.0.0.1:9")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[Any]], bytes]], list[bytes]]:
    """Has a function of the documents answer; gives the bodies that were sent."""

    def answered_by(answer: Callable[[list[Any]], bytes]) -> list[bytes]:
        sent: list[bytes] = []

        async def ask(requests: Any, method: str, path: str, body: bytes) -> bytes:
            sent.append(body)
            return answer(json.loads(body)["documents"])

        monkeypatch.setattr(offering, "asked", ask)
        return sent

    return answered_by


async def filled(path: Path, count: int, size: int = 10) -> Store:
    store = await Store.open(path / "replica.db")
    settings = {"text": "x" * size}
    for number in range(count):
        await store.put(instance_document(NODE, f"p{number:02d}", created_at=THEN, settings=settings))
    return store


def taken(documents: list[Any]) -> bytes:
    return json.dumps({"made": [one["plugin_name"] for one in documents]}).encode()


async def test_large_settings_go_in_several_requests(tmp_path: Path, asked: Any) -> None:
    store, sent = await filled(tmp_path, 12, size=180_000), asked(taken)
    offered = Offered(store, NODE, NOWHERE)
    await offered.offer("restored")
    assert all(f"p{number:02d}" in offered.told for number in range(12))
    assert len(sent) == 3
    assert max(map(len, sent)) < TOGETHER_BYTES + 100
    assert {one["_rev"][:2] for body in sent for one in json.loads(body)["documents"]} == {"1-"}
    await store.close()


@pytest.mark.parametrize("error", [UserError("too large"), MosaicError("the server answered 500")])
async def test_one_that_is_refused_is_told_and_the_rest_is_taken(
    tmp_path: Path, asked: Any, error: MosaicError
) -> None:
    def answer(documents: list[Any]) -> bytes:
        if any(one["plugin_name"] == "p01" for one in documents):
            raise error
        return taken(documents)

    store, _ = await filled(tmp_path, 3), asked(answer)
    offered = Offered(store, NODE, NOWHERE)
    await offered.offer("restored")
    assert "took the settings of this machine back: p00, p02; " in offered.told
    assert f"p01 was not taken, its files stay indexed as they are: {error.message}" in offered.told
    await store.close()


@pytest.mark.parametrize("kind", [Unavailable, NotSignedIn])
async def test_one_that_cannot_be_asked_is_asked_later(tmp_path: Path, asked: Any, kind: type[MosaicError]) -> None:
    def answer(documents: list[Any]) -> bytes:
        raise kind("not now")

    store, _ = await filled(tmp_path, 2), asked(answer)
    with pytest.raises(kind):
        await Offered(store, NODE, NOWHERE).offer("restored")
    await store.close()


async def test_what_answers_otherwise_is_in_nobodys_way(tmp_path: Path, asked: Any) -> None:
    def old(documents: list[Any]) -> bytes:
        raise NotFound("no such path")

    store = await filled(tmp_path, 2)
    offered = Offered(store, NODE, NOWHERE)
    for answer, said in ((old, "of a version that takes no settings back"), (lambda _: b"<html>", "no control plane")):
        asked(answer)
        await offered.offer("restored")
        assert offered.told.count(said) == 2
    await store.close()


async def test_it_is_told_for_some_days(tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await filled(tmp_path, 1)
    asked(lambda _: b"{}")
    offered = Offered(store, NODE, NOWHERE)
    await offered.offer("first")
    assert not offered.told, "nothing came of it"
    asked(taken)
    await offered.offer("first")
    assert "this machine, used alone before, joined the control plane; it took" in offered.told
    again = Offered(store, NODE, NOWHERE)
    await again.load()
    assert again.told == offered.told
    later = times.now_micros() + TOLD_DAYS * times.MICROS_PER_DAY
    monkeypatch.setattr(times, "now_micros", lambda: later)
    assert not again.told
    await store.close()
