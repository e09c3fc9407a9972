"""Protects questions to the plugins of several machines: who answers, who is late, off or failing, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.jobs.asking import Asked, Question, ask_all
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import Endpoint, Hit, ResultEnvelope
from mosaicfs_core.server import queries
from mosaicfs_core.server.queries import EnvelopeAnswer, capable_nodes, fan_out
from mosaicfs_core.store import Store

A, B, C = "node-a-aaaa", "node-b-bbbb", "node-c-cccc"


def file(node_id: str, number: int, **fields: Any) -> dict[str, Any]:
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    identifier = ids.file_document_id(node_id, uuid)
    return {
        "_id": identifier,
        "type": "file",
        "inode": ids.derived_inode(identifier),
        "name": f"{number}.txt",
        "source": {"node_id": node_id, "export_path": f"/{number}.txt", "export_parent": "/"},
        "size": number,
        "mtime": "2026-01-15T14:30:00.000000Z",
        "status": "active",
        **fields,
    }


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "replica.db") as made:
        documents = [file(A, 1), file(B, 2), file(A, 3, status="deleted", deleted_at="2026-01-16T14:30:00.000000Z")]
        for result in await made.bulk(documents):
            assert result.error is None
        yield made


def hit(node_id: str, number: int) -> dict[str, Any]:
    return {"file_id": f"{node_id}.00000000-0000-4000-8000-{number:012d}", "score": 1.0}


def envelope(node_id: str, *results: Any, package: str = "fulltext") -> dict[str, Any]:
    told = {"node_id": node_id, "plugin_name": package, "package": package, "capability": "search", "took_ms": 1.0}
    return {"envelopes": [{**told, "results": list(results)}], "omitted": []}


async def gathered(store: Store, answers: dict[str, Any], timeout_s: float = 5.0) -> tuple[list[Any], list[Any]]:
    async def ask(node_id: str, params: Any, timeout: float) -> Any:
        answer = answers[node_id]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        return answer

    found, omitted = [], []
    async for one in fan_out(
        store, sorted(answers), ask, {"capability": "search", "query": "x", "limit": 5}, timeout_s
    ):
        (found if isinstance(one, EnvelopeAnswer) else omitted).append(one)
    return found, omitted


async def test_everybody_answers_with_the_facts_of_the_files(store: Store) -> None:
    found, omitted = await gathered(store, {A: envelope(A, hit(A, 1)), B: envelope(B, hit(B, 2))})
    assert omitted == []
    assert sorted((one.node_id, one.results[0].file.export_path) for one in found) == [(A, "/1.txt"), (B, "/2.txt")]
    assert not any(one.waiting or one.syncing for one in found)


async def test_what_an_answer_may_lack_comes_along(store: Store) -> None:
    told = envelope(A, hit(A, 1))
    told["envelopes"][0] |= {"waiting": 3, "syncing": True}
    ((one,), _) = await gathered(store, {A: told})
    assert (one.waiting, one.syncing) == (3, True)


async def test_what_two_name_for_one_package_is_there_once_and_what_is_gone_is_not(store: Store) -> None:
    odd = {"file_id": "no id at all"}
    found, _ = await gathered(
        store,
        {
            A: envelope(A, hit(A, 1), hit(A, 3), odd),
            B: envelope(B, hit(A, 1)),
            C: envelope(C, hit(A, 1), package="other"),
        },
    )
    named = [(one.package, one_hit.file_id) for one in found for one_hit in one.results]
    assert sorted(named) == sorted([("fulltext", hit(A, 1)["file_id"]), ("other", hit(A, 1)["file_id"])])


async def test_who_is_off_late_or_speaks_nonsense_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "GRACE_S", 0.0)
    answers = {A: Unavailable("node-a-aaaa is not connected"), B: asyncio.Event(), C: {"envelopes": 3}}
    found, omitted = await gathered(store, answers, 0.05)
    assert found == []
    reasons = {one.node_id: one.reason for one in omitted}
    assert reasons[A] == "node-a-aaaa is not connected"
    assert reasons[B] == "it did not answer within 0.05 s"
    assert "something else" in reasons[C]


def test_nodes_that_are_off_are_asked_by_what_they_said_last_and_disabled_ones_are_not() -> None:
    nodes = [
        {"node_id": B, "status": "offline", "capabilities": ["search"]},
        {"node_id": A, "status": "online", "capabilities": ["search", "relay"]},
        {"node_id": C, "status": "disabled", "capabilities": ["search"]},
        {"node_id": "node-d", "status": "online"},
    ]
    assert capable_nodes(nodes, "search") == [A, B]


def test_nodes_whose_plugin_cannot_answer_at_present_are_asked_and_say_why() -> None:
    lack = {"capability": "search", "plugin_name": "fulltext", "reason": "down", "since": "2026-01-15T14:02:00.000000Z"}
    nodes = [
        {"node_id": B, "status": "online", "capabilities": [], "lacking": [lack]},
        {"node_id": A, "status": "online", "capabilities": ["search"], "lacking": [{**lack, "capability": "other"}]},
        {"node_id": C, "status": "disabled", "lacking": [lack]},
    ]
    assert capable_nodes(nodes, "search") == [A, B]
    assert capable_nodes(nodes, "other") == [A]


async def test_since_when_an_instance_cannot_answer_comes_along(store: Store) -> None:
    since = "2026-01-15T14:02:00.000000Z"
    lost = {"node_id": A, "plugin_name": "fulltext", "reason": "it does not work at present: gone", "since": since}
    _, (omitted,) = await gathered(store, {A: {"envelopes": [], "omitted": [lost]}})
    assert (omitted.plugin_name, omitted.reason, omitted.since) == ("fulltext", lost["reason"], since)


class Answering:
    """Stands for a running plugin."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def query(self, request: Any) -> ResultEnvelope:
        if isinstance(self.answer, Exception):
            raise self.answer
        return ResultEnvelope(results=tuple(Hit(score=float(n)) for n in range(self.answer)))


async def test_a_node_asks_its_instances_and_names_the_failing_ones() -> None:
    endpoint = Endpoint(name="text", capability="search", description="In the text")
    asked = {
        Asked(name="good", package="fulltext", endpoint=endpoint): Answering(9),
        Asked(name="bad", package="x", endpoint=endpoint): Answering(
            PluginError("plugin bad: no", "bad", "mosaicfs_query")
        ),
    }
    answers = await ask_all(A, Question(capability="search", query="x", limit=3), asked)
    (one,) = answers.envelopes
    assert (one.node_id, one.plugin_name, one.package, one.description, len(one.results)) == (
        A,
        "good",
        "fulltext",
        "In the text",
        3,
    )
    assert [(lost.plugin_name, lost.reason) for lost in answers.omitted] == [("bad", "plugin bad: no")]
