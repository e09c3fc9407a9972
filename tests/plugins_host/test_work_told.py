"""Protects what is told of plugins at work: what failed, what they lack, what they can be asked, how they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plugins_host.work_bed import Annotator, Bed, all_done, annotator, bed, data_is, paused

from mosaicfs_core.agent.jobs import health as health_module
from mosaicfs_core.agent.jobs import outage as outage_module
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import FileEvent, HealthReport, Notice
from mosaicfs_core.jobs import finishing

__all__ = ["annotator", "bed"]


@pytest.mark.logs("cannot be read")
async def test_a_file_that_always_fails_is_given_up_and_told_and_can_be_tried_again(
    bed: Bed, annotator: Annotator
) -> None:
    def fails(event: FileEvent) -> Any:
        if event.file:
            raise ValueError("cannot be read")

    annotator.answer = fails
    await bed.change(max_attempts=1)
    (bed.tree / "a.txt").write_text("abc")
    async with bed.agent() as agent:
        notification = await bed.until(lambda: bed.notification("plugin_jobs_failed:annotator"))
        assert "cannot be read" in notification["message"]
        assert (await bed.annotations())["a.txt"]["status"] == "failed"
        part = agent.status()["subsystems"]["jobs"]
        assert (part["status"], part["failed"]["annotator"]["failed"]) == ("healthy", 1)
        assert part["detail"].startswith("annotator: 1 file failed, the last: ")
        assert "cannot be read" in part["detail"]
        annotator.answer = lambda event: {"fine": True}
        assert await agent.jobs.queue.retry("annotator") == 1
        await bed.until(lambda: data_is(bed, "a.txt", {"fine": True}))
        await bed.until(lambda: (bed.notification("plugin_jobs_failed:annotator") or {}).get("status") == "resolved")
        assert agent.status()["subsystems"]["jobs"] == {"status": "healthy", "detail": "", "failed": {}}


@pytest.mark.logs("cannot be read")
async def test_a_plugin_that_fails_at_all_its_files_makes_the_node_degraded(bed: Bed, annotator: Annotator) -> None:
    def fails(event: FileEvent) -> Any:
        if event.file:
            raise ValueError("cannot be read")

    annotator.answer = fails
    await bed.change(max_attempts=1)
    for number in range(4):
        (bed.tree / f"{number}.txt").write_text("abc")
    async with bed.agent() as agent:
        await bed.until(lambda: agent.status()["subsystems"]["jobs"]["failed"].get("annotator", {}).get("failed") == 4)
        assert (agent.status()["subsystems"]["jobs"]["status"], agent.status()["overall"]) == ("degraded", "degraded")
        annotator.answer = lambda event: None
        await agent.jobs.queue.retry("annotator")
        await bed.until(lambda: all_done(agent, annotator, 8))
        assert agent.status()["overall"] == "healthy"


@pytest.mark.logs("the server is away")
async def test_while_what_it_needs_is_away_nothing_fails_and_all_is_done_after(
    bed: Bed, annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(finishing, "FIRST_PAUSE_S", 0.01)
    away = True

    def answer(event: FileEvent) -> dict[str, Any]:
        if away and event.file is not None:
            raise Unavailable("the server is away")
        return {"fine": True}

    annotator.answer = answer
    await bed.change(max_attempts=1)
    for number in range(5):
        (bed.tree / f"{number}.txt").write_text("abc")
    async with bed.agent() as agent:
        await bed.until(lambda: "the server is away" in agent.jobs.waits("annotator"))
        await bed.until(lambda: sum(event == "file.added" for event, _ in annotator.seen()) > 5)
        away = False
        await bed.until(lambda: all_done(agent, annotator, 5))
        assert (await agent.jobs.queue.standing("annotator")).counts.failed == 0
    assert bed.notification("plugin_jobs_failed:annotator") is None


async def test_what_it_can_be_asked_is_told_and_withdrawn(bed: Bed) -> None:
    def capabilities() -> Any:
        return (bed.harness.store.reader.get(f"node::{bed.harness.core.node_id}") or {}).get("capabilities")

    async with bed.agent() as agent:
        await bed.harness.store.put(_node(bed.harness.core.node_id))
        await bed.change(name="Stirred")
        await bed.until(lambda: capabilities() == ["asking"])
        context = bed.harness.instances.current["annotator"].context
        context.capability("asking", available=False)
        await bed.until(lambda: capabilities() == [])
        context.capability("asking", available=True)
        await bed.until(lambda: capabilities() == ["asking"])
        await bed.change(paused=True)
        await bed.until(lambda: paused(agent))
        answers = await agent.job_methods.query({"capability": "asking", "query": "well?"})
        assert [one["plugin_name"] for one in answers["envelopes"]] == ["annotator"]
        assert capabilities() == ["asking"]
        await bed.change(enabled=False)
        await bed.until(lambda: capabilities() == [])


def _said(bed: Bed) -> dict[str, Any]:
    return dict(bed.harness.store.reader.get(f"node::{bed.harness.core.node_id}") or {})


def _lacks(bed: Bed) -> list[tuple[str, str, str]]:
    """What the node's document says that it lacks."""
    return [(one["capability"], one["plugin_name"], one["reason"]) for one in _said(bed).get("lacking", ())]


async def _omitted(agent: Any) -> list[dict[str, Any]]:
    """Who does not answer a question, as the node says it."""
    answer = await agent.job_methods.query({"capability": "asking", "query": "well?"})
    return [dict(one) for one in answer["omitted"]]


async def test_what_it_should_answer_and_cannot_is_told_until_it_can_or_need_not(
    bed: Bed, annotator: Annotator
) -> None:
    annotator.health = lambda: HealthReport(status="degraded", detail="the index is damaged")
    async with bed.agent() as agent:
        await bed.harness.store.put(_node(bed.harness.core.node_id))
        await bed.change(name="Stirred")
        await bed.until(lambda: _said(bed).get("capabilities") == ["asking"])
        assert "lacking" not in _said(bed)
        assert await _omitted(agent) == []
        context = bed.harness.instances.current["annotator"].context
        await bed.until(lambda: bed.harness.core.reports.get("annotator", {}).get("status") == "degraded")
        context.capability("asking", available=False)
        await bed.until(lambda: _lacks(bed) == [("asking", "annotator", "withdrawn")])
        (lost,) = await _omitted(agent)
        assert (lost["plugin_name"], lost["since"]) == ("annotator", _said(bed)["lacking"][0]["since"])
        assert lost["reason"].startswith("it cannot answer this at present")
        since = lost["since"]
        await bed.change(query_endpoints=[{"name": "ask", "capability": "asking"}, {"name": "b", "capability": "b"}])
        await bed.until(lambda: "b" in _said(bed)["capabilities"])
        assert _said(bed)["lacking"][0]["since"] == since
        context.capability("asking", available=True)
        await bed.until(lambda: _said(bed)["capabilities"] == ["asking", "b"] and "lacking" not in _said(bed))
        # What the user has switched off lacks nothing.
        context.capability("asking", available=False)
        await bed.until(lambda: bool(_lacks(bed)))
        await bed.change(enabled=False)
        await bed.until(lambda: "lacking" not in _said(bed) and _said(bed)["capabilities"] == [])
        assert await _omitted(agent) == []


async def test_what_cannot_run_as_it_is_set_lacks_what_it_should_answer(bed: Bed) -> None:
    async with bed.agent() as agent:
        await bed.harness.store.put(_node(bed.harness.core.node_id))
        await bed.change(plugin_type="nothing-runs-this", query_endpoints=[{"name": "ask", "capability": "asking"}])
        await bed.until(lambda: _lacks(bed) == [("asking", "annotator", "broken")])
        (lost,) = await _omitted(agent)
        assert lost["reason"] == "it cannot run: no installed plugin runs plugins of type nothing-runs-this"


def _node(node_id: str) -> dict[str, Any]:
    return {"_id": f"node::{node_id}", "type": "node", "node_id": node_id, "friendly_name": "test"}


@pytest.mark.logs("no power")
async def test_its_health_is_asked_and_told(bed: Bed, annotator: Annotator) -> None:
    notice = Notice(key="battery", severity="warning", title="Low")
    annotator.health = lambda: HealthReport(status="degraded", detail="low", notices=(notice,))
    async with bed.agent() as agent:
        await bed.until(lambda: bed.notification("plugin:annotator:battery"))
        reports = agent.status()["subsystems"]["instances"]["reports"]
        assert reports["annotator"]["detail"] == "low"
        annotator.health = lambda: HealthReport(resolved=("battery",))
        await bed.until(lambda: (bed.notification("plugin:annotator:battery") or {}).get("status") == "resolved")

        def dead() -> HealthReport:
            raise RuntimeError("no power")

        annotator.health = dead
        key = "plugin_health_check_failed:annotator"
        await bed.until(lambda: bed.notification(key))
        annotator.health = HealthReport
        await bed.until(lambda: (bed.notification(key) or {}).get("status") == "resolved")
    assert health_module.MISSED == 3
