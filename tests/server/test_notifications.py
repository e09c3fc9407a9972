"""What the user should know of, as the API tells it, and that somebody has taken note of it."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.notifications import Condition, acknowledged, raised, resolved

NODE = "node-nas-aaaa"


async def tell(instance: Any, key: str, severity: str = "warning", *, over: bool = False) -> str:
    """A notification; its id in the API."""
    now = times.now_micros()
    document = raised(None, Condition(NODE, "disk", key, severity, f"It is {key}"), now)
    assert document is not None
    await instance.harness.store.put((resolved(document, now) if over else None) or document)
    return ids.short_notification_id(document["_id"])


async def listed(instance: Any, query: str = "") -> list[tuple[str, str]]:
    """What a list has: of each its key and status."""
    answer = await instance.ask("GET", f"/api/notifications{query}")
    assert answer.status_code == 200
    body = await answer.get_json()
    assert body["total"] >= len(body["items"])
    return [(one["condition_key"], one["status"]) for one in body["items"]]


async def test_what_is_active_comes_first_and_the_worst_of_that(instance: Any) -> None:
    await tell(instance, "over", "error", over=True)
    known = await tell(instance, "known", "error")
    await tell(instance, "mild", "info")
    await tell(instance, "bad", "error")
    assert (await instance.ask("POST", f"/api/notifications/{known}/acknowledge")).status_code == 200
    order = [("bad", "active"), ("mild", "active"), ("known", "acknowledged"), ("over", "resolved")]
    assert await listed(instance) == order
    assert await listed(instance, "?limit=2&offset=1") == order[1:3]
    assert await listed(instance, "?severity=error&status=active") == order[:1]


async def test_the_history_has_all_by_when_something_last_happened(instance: Any) -> None:
    """That it was over, or that somebody took note of it, is something that happens as well."""
    made = [raised(None, Condition(NODE, "disk", key, "info", key), 1) for key in ("over", "known", "seen")]
    over, known, seen = (document for document in made if document is not None)
    seen["last_seen"] = times.format_time(3_000_000)
    await instance.harness.store.bulk([resolved(over, 4_000_000), acknowledged(known, 2_000_000), seen])
    everything = [("over", "resolved"), ("seen", "active"), ("known", "acknowledged")]
    assert await listed(instance, "/history") == everything
    assert await listed(instance, "/history?limit=1&offset=1") == everything[1:2]
    assert await listed(instance, "/history?since=1970-01-01T00:00:03.000001Z") == everything[:1]
    assert await listed(instance, "/history?since=1970-01-02") == []
    for time, status in (("lately", 400), ("0001-01-01T00:00:00%2B14:00", 200)):
        assert (await instance.ask("GET", f"/api/notifications/history?since={time}")).status_code == status


async def test_it_is_taken_note_of_once_and_nothing_else_changes(instance: Any) -> None:
    identifier = await tell(instance, "full")
    path = f"/api/notifications/{identifier}/acknowledge"
    first, again = await instance.ask("POST", path), await instance.ask("POST", path)
    assert first.headers["ETag"] == again.headers["ETag"]
    body = await again.get_json()
    assert (body["id"], body["status"], body["severity"], body["title"]) == (
        identifier,
        "acknowledged",
        "warning",
        "It is full",
    )
    assert not {"_id", "_rev", "type"} & body.keys()
    over = await tell(instance, "over", over=True)
    answer = await instance.ask("POST", f"/api/notifications/{over}/acknowledge")
    assert (await answer.get_json())["status"] == "resolved"


async def test_all_of_a_severity_are_taken_note_of(instance: Any) -> None:
    for key, severity in (("a", "info"), ("b", "info"), ("c", "error")):
        await tell(instance, key, severity)
    answer = await instance.ask("POST", "/api/notifications/acknowledge-all?severity=info")
    assert await answer.get_json() == {"acknowledged": 2}
    assert await listed(instance, "?status=active") == [("c", "active")]
    answer = await instance.ask("POST", "/api/notifications/acknowledge-all")
    assert await answer.get_json() == {"acknowledged": 1}


@pytest.mark.parametrize(
    ("identifier", "status"),
    [(ids.short_notification_id("notification::node-x::y"), 404), ("nonsense", 400), ("a" * 999, 400)],
)
async def test_what_is_none_is_refused(instance: Any, identifier: str, status: int) -> None:
    assert (await instance.ask("POST", f"/api/notifications/{identifier}/acknowledge")).status_code == status


def test_it_is_active_again_when_it_comes_back() -> None:
    condition = Condition(NODE, "disk", "full", "warning", "Full")
    document = raised(None, condition, 0)
    assert document is not None
    known = acknowledged(document, 5)
    assert known is not None
    assert (raised(known, condition, 10), acknowledged(known, 10)) == (None, None)
    gone = resolved(known, 20)
    back = raised(gone, condition, 30)
    assert back is not None
    assert (back["status"], back["occurrence_count"]) == ("active", 2)
