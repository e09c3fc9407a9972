"""Protects a question to several plugins from the one that answers it wrongly: that one is left out, and named."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest

from mosaicfs_core.agent.jobs.asking import Asked, Question, ask_all
from mosaicfs_core.agent.jobs.methods import JobMethods
from mosaicfs_core.agent.jobs.offers import Offer
from mosaicfs_core.errors import NotFound, PluginError, Unavailable
from mosaicfs_core.hooks import (
    HOOK_API,
    Endpoint,
    HealthReport,
    Hit,
    PluginManifest,
    QueryRequest,
    ResultEnvelope,
    hookimpl,
)
from mosaicfs_core.jobs.records import Counts, Standing, SyncProgress
from mosaicfs_core.plugins.running import kinds
from mosaicfs_core.testing.harness import Harness, plugin_at

ENDPOINT = Endpoint(name="s", capability="search")


def answering(answer: Any) -> Any:
    async def query(request: QueryRequest) -> Any:
        return answer

    return SimpleNamespace(query=query)


def deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(3000):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "wrong",
    [
        {"results": None},
        {"results": ["a"]},
        {"results": [{"score": "high"}]},
        {"data": {"x": object()}},
        {"data": {"x": "\ud800"}},
        {"data": deep()},
        {"description": 7},
    ],
    ids=["none", "texts", "score", "object", "surrogate", "deep", "description"],
)
async def test_an_answer_that_is_wrong_inside_is_left_out_and_named(wrong: dict[str, Any]) -> None:
    good = answering(ResultEnvelope(results=(Hit(file_id="a.b", score=1.0),)))
    asked = {
        Asked(name="good", package="g", endpoint=ENDPOINT): good,
        Asked(name="bad", package="b", endpoint=ENDPOINT): answering(ResultEnvelope(**wrong)),
    }
    answers = await ask_all("n", Question(capability="search", query="x"), asked)
    msgspec.json.encode(answers)
    assert [one.plugin_name for one in answers.envelopes] == ["good"]
    assert [one.plugin_name for one in answers.omitted] == ["bad"]
    assert answers.omitted[0].reason.startswith("It answered wrongly: ")


async def test_what_a_plugin_says_that_it_lacks_is_added_to_what_the_host_knows() -> None:
    asked = {
        Asked(name="lost", package="p", endpoint=ENDPOINT): answering(ResultEnvelope(syncing=True)),
        Asked(name="behind", package="p", endpoint=ENDPOINT, waiting=2): answering(ResultEnvelope(waiting=3)),
        Asked(name="wrong", package="p", endpoint=ENDPOINT, waiting=2): answering(ResultEnvelope(waiting=-3)),
    }
    answers = await ask_all("n", Question(capability="search", query="x"), asked)
    found = [(one.waiting, one.syncing) for one in answers.envelopes]
    assert found == [(0, True), (5, False), (2, False)]


class Queue:
    """How the queues of some instances stand; ``free`` has none."""

    async def standing(self, instance: str) -> Standing:
        counts = Counts(pending=7, in_flight=2)
        syncs = {"telling": "completing", "listing": "listing", "done": None}
        if instance not in syncs:
            raise NotFound(f"no instance {instance}")
        phase: Any = syncs[instance]
        facts: dict[str, Any] = {"trigger": "manual", "started_at": 0, "looked_at": 10, "documents": 20, "enqueued": 9}
        progress = None if phase is None else SyncProgress(phase=phase, **facts)
        return Standing(instance=instance, enabled=True, paused=False, counts=counts, sync=progress)


async def test_an_answer_tells_how_many_files_it_may_lack() -> None:
    names = ("telling", "listing", "done", "free")
    keeper: Any = SimpleNamespace(
        queue=Queue(),
        offers=lambda: dict.fromkeys(names, Offer(endpoints=(ENDPOINT,))),
        running=lambda name: (answering(ResultEnvelope()), "package"),
    )
    core: Any = SimpleNamespace(node_id="n", store=SimpleNamespace(reader=SimpleNamespace(get=lambda _: None)))
    told = await JobMethods(core, keeper).query({"capability": "search", "query": "x"})
    found = {one["plugin_name"]: (one["waiting"], one["syncing"]) for one in told["envelopes"]}
    assert found == {"telling": (8, True), "listing": (9, True), "done": (9, False), "free": (0, False)}


async def test_an_instance_that_goes_while_another_is_asked_about_costs_no_answer() -> None:
    at_work = dict.fromkeys(("first", "second"), (answering(ResultEnvelope()), "package"))

    class Going(Queue):
        async def standing(self, instance: str) -> Standing:
            at_work.clear()
            return await super().standing(instance)

    offers = dict.fromkeys(at_work, Offer(endpoints=(ENDPOINT,)))
    keeper: Any = SimpleNamespace(queue=Going(), offers=lambda: offers, running=lambda name: at_work[name])
    core: Any = SimpleNamespace(node_id="n", store=SimpleNamespace(reader=SimpleNamespace(get=lambda _: None)))
    told = await JobMethods(core, keeper).query({"capability": "search", "query": "x"})
    assert [one["plugin_name"] for one in told["envelopes"]] == ["first", "second"]


async def test_before_it_is_known_which_plugins_there_are_nobody_is_told_that_they_found_nothing() -> None:
    keeper: Any = SimpleNamespace(offers=dict)
    reader = SimpleNamespace(get=lambda _: None)
    core: Any = SimpleNamespace(node_id="n", lacking=None, store=SimpleNamespace(reader=reader))
    with pytest.raises(Unavailable, match="its plugins are being started"):
        await JobMethods(core, keeper).query({"capability": "search", "query": "x"})
    core.lacking = {}
    told = await JobMethods(core, keeper).query({"capability": "search", "query": "x"})
    assert (list(told["envelopes"]), list(told["omitted"])) == ([], [])


@pytest.mark.logs("not a ResultEnvelope|a HealthReport that is wrong inside")
async def test_what_is_no_envelope_or_report_is_the_plugins_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("liar")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(title="t", description="d", version="1", hook_api=HOOK_API, queries=(ENDPOINT,))

    @hookimpl
    async def mosaicfs_query(context: Any, request: Any) -> Any:
        return {"results": []}

    @hookimpl
    async def mosaicfs_health(context: Any) -> Any:
        return HealthReport(notices=None)  # type: ignore[arg-type]  # that is what is wrong

    hooks = {"mosaicfs_query": mosaicfs_query, "mosaicfs_health": mosaicfs_health}
    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, **hooks)
    monkeypatch.setitem(sys.modules, "liar", module)
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("liar", "liar")]) as harness:
        await harness.instance("liar")
        made = kinds.run(harness.core, harness.instances, harness.instances.current["liar"], lambda: None)
        with pytest.raises(PluginError, match="plugin liar: mosaicfs_query returned dict, not a ResultEnvelope"):
            await made.query(QueryRequest(capability="search", endpoint="s", query="x"))
        with pytest.raises(PluginError, match="mosaicfs_health returned a HealthReport that is wrong inside"):
            await made.health()
