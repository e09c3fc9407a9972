"""Protects the routes of what plugins have to do, asked of a real queue: jobs, retry, full sync, settings of work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.plugins_host.work_bed import Annotator, Bed, all_done, annotator, bed, data_is

from mosaicfs_core.agent import Agent
from mosaicfs_core.documents import ids
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION

__all__ = ["annotator", "bed"]


class Api:
    """The application over the bed, asked as the owner of the home."""

    def __init__(self, app: Any, node_id: str) -> None:
        token = app.extensions[EXTENSION].local_token
        self._client, self._headers = app.test_client(), {"Authorization": f"Bearer {token}"}
        self.plugin = f"/api/nodes/{node_id}/plugins/annotator"

    async def ask(self, method: str, path: str, body: Any = None, code: int = 200) -> Any:
        here = {"client": ("127.0.0.1", 50000)}
        answer = await self._client.open(path, method=method, json=body, headers=self._headers, scope_base=here)
        assert answer.status_code == code, await answer.get_data(as_text=True)
        return await answer.get_json()


@asynccontextmanager
async def api(bed: Bed) -> AsyncIterator[tuple[Api, Agent]]:
    node_id = bed.harness.core.node_id
    node = {"_id": ids.node_document_id(node_id), "type": "node", "node_id": node_id, "friendly_name": "test"}
    await bed.harness.store.put({**node, "status": "online"})
    async with bed.agent() as agent, running_app(bed.harness.core) as app:
        yield Api(app, node_id), agent


@pytest.mark.logs("cannot be read")
async def test_jobs_are_listed_with_what_became_of_them_and_tried_again(bed: Bed, annotator: Annotator) -> None:
    def fails(event: Any) -> Any:
        if event.file:
            raise ValueError("cannot be read")

    annotator.answer = fails
    (bed.tree / "a.txt").write_text("abc")
    await bed.change(max_attempts=1)
    async with api(bed) as (asked, agent):
        await bed.until(lambda: bed.notification("plugin_jobs_failed:annotator"))
        jobs = await asked.ask("GET", f"{asked.plugin}/jobs?status=failed")
        (job,) = jobs["items"]
        assert (job["event"], job["export_path"], job["attempts"]) == ("file.added", str(bed.tree / "a.txt"), 1)
        assert "cannot be read" in job["last_error"]
        assert job["created_at"].endswith("Z")
        assert (jobs["counts"]["failed"], jobs["paused"], jobs.get("waits")) == (1, False, None)
        annotator.answer = lambda event: {"fine": 1}
        assert await asked.ask("POST", f"{asked.plugin}/jobs/retry", {"sequences": [job["sequence"]]}) == {"retried": 1}
        await bed.until(lambda: data_is(bed, "a.txt", {"fine": 1}))
        found = await asked.ask("GET", f"/api/annotations?plugin=annotator&node_id={bed.harness.core.node_id}")
        assert [one["data"] for one in found["items"] if one["status"] == "ok"] == [{"fine": 1}]
        assert not (await asked.ask("GET", f"{asked.plugin}/jobs?status=failed"))["items"]
        await asked.ask("POST", f"{asked.plugin}/sync", code=202)
        await bed.until(lambda: all_done(agent, annotator, 0))
        assert (bed.harness.home.run_dir / "plugin-sockets").stat().st_mode & 0o777 == 0o700
        for method, what in (("GET", "jobs"), ("POST", "sync"), ("POST", "jobs/retry")):
            body = {} if what == "jobs/retry" else None
            where = f"{asked.plugin.replace('annotator', 'localfs')}/{what}"
            told = (await asked.ask(method, where, body, code=404))["error"]["message"]
            assert "localfs is told nothing of files and has no jobs" in told
        await asked.ask("GET", f"{asked.plugin.replace('annotator', 'nobody')}/jobs", code=404)


async def test_what_it_works_on_is_checked_before_it_is_stored(bed: Bed) -> None:
    async with api(bed) as (asked, _):
        right = {
            "steps": [{"op": "glob", "pattern": "**/*.txt"}],
            "budget": {"hours": ["22:00-06:00"], "jobs_per_day": 3},
            "mime_globs": ["text/*"],
            "workers": 4,
            "timeout_s": 5,
        }
        shown = await asked.ask("PATCH", asked.plugin, right)
        assert {name: shown[name] for name in right} == right
        for wrong, field in (
            ({"steps": [{"op": "glob"}]}, "steps"),
            ({"budget": {"hours": ["at night"]}}, "budget"),
            ({"budget": {"steps": [{"op": "glob"}]}}, "budget.steps"),
            ({"subscribed_events": ["file.eaten"]}, "subscribed_events"),
            ({"workers": 0}, "workers"),
        ):
            answer = await asked.ask("PATCH", asked.plugin, wrong, code=400)
            assert field in answer["error"]["message"], answer
        assert (await asked.ask("GET", asked.plugin))["workers"] == 4
        nothing = dict.fromkeys(("workers", "timeout_s", "max_attempts", "budget"))
        assert not nothing.keys() & (await asked.ask("PATCH", asked.plugin, nothing)).keys()  # as by default again


async def test_a_path_without_a_node_is_refused(bed: Bed, tmp_path: Path) -> None:
    async with api(bed) as (asked, _):
        answer = await asked.ask("GET", "/api/annotations?path=/a", code=400)
        assert answer["error"]["details"]["field"] == "node_id"


async def test_annotations_that_are_deleted_are_made_anew(bed: Bed, annotator: Annotator) -> None:
    for name in ("a.txt", "b.txt"):
        (bed.tree / name).write_text("abc")
    async with api(bed) as (asked, agent):
        node_id = bed.harness.core.node_id
        await bed.until(lambda: all_done(agent, annotator, 2))
        one = f"/api/annotations?node_id={node_id}&path={bed.tree}/a.txt"
        annotator.answer = lambda event: {"anew": True}
        assert await asked.ask("DELETE", one) == {"deleted": 1, "omitted": []}
        await bed.until(lambda: data_is(bed, "a.txt", {"anew": True}))
        assert (await bed.annotations())["b.txt"]["data"] == {"size": 3}
        assert [event for event in annotator.seen() if event[1] == "a.txt"] == [("file.added", "a.txt")] * 2
        assert await asked.ask("DELETE", "/api/annotations?plugin=annotator") == {"deleted": 2, "omitted": []}
        await bed.until(lambda: data_is(bed, "b.txt", {"anew": True}))
        answer = await asked.ask("DELETE", "/api/annotations", code=400)
        assert answer["error"]["details"]["field"] == "node_id"


async def test_a_node_that_cannot_be_asked_to_delete_its_annotations_is_named(bed: Bed) -> None:
    async with api(bed) as (asked, _):
        away = "node-away-cccc"
        node = {"_id": ids.node_document_id(away), "type": "node", "node_id": away, "friendly_name": "away"}
        await bed.harness.store.put({**node, "status": "online"})
        instance = instance_document(away, "annotator", created_at="2026-01-01T00:00:00.000000Z")
        await bed.harness.store.put(instance)
        answer = await asked.ask("DELETE", "/api/annotations?plugin=annotator")
        assert answer["deleted"] == 0
        assert [one["node_id"] for one in answer["omitted"]] == [away]
        here = f"/api/annotations?plugin=annotator&node_id={bed.harness.core.node_id}"
        assert (await asked.ask("DELETE", here))["omitted"] == []
