"""Protects convergence: replicas that merge the same conflicting revisions, in any order and grouping and any number of
times, arrive at the same valid body; and a merge loses nothing that either side did."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core import documents
from mosaicfs_core.documents.merge import (
    MERGES,
    merge_credentials,
    merge_label_assignments,
    merge_leaves,
    merge_nodes,
    merge_notifications,
)
from mosaicfs_core.testing.store import NODE

TIMES = st.integers(0, 4).map(lambda second: documents.format_time(1_700_000_000_000_000 + second * 1_000_000))
KEY = "MOSAICFS_0123456789abcdef"
UNKNOWN = st.dictionaries(st.sampled_from(["later", "newer"]), st.integers(0, 2) | st.none(), max_size=2)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


REVOCATIONS = st.fixed_dictionaries({"number": st.integers(0, 2), "proof": st.sampled_from("pq")})


@st.composite
def credentials(draw: st.DrawFn) -> dict[str, Any]:
    optional = some(
        enabled=st.booleans(),
        revocation=REVOCATIONS,
        node_id=st.sampled_from([NODE, "node-other"]),
        last_seen=TIMES,
        permissions=st.just({"scope": "full"}),
    )
    return {
        "type": "credential",
        "access_key_id": KEY,
        "secret_key_hash": "$argon2id$x",
        "name": draw(st.sampled_from(["Laptop", "My laptop"])),
        "kind": "agent",
        "created_at": documents.format_time(1_700_000_000_000_000),
        **draw(optional),
        **draw(UNKNOWN),
    }


@st.composite
def nodes(draw: st.DrawFn) -> dict[str, Any]:
    agent = some(
        platform=st.sampled_from(["linux", "macos"]),
        vfs_capable=st.booleans(),
        capabilities=st.lists(st.sampled_from("ab"), max_size=2),
        agent_version=st.integers(0, 2),
    )
    control = some(
        status=st.sampled_from(["online", "offline"]),
        role=st.sampled_from(["bridge"]),
        control_version=st.integers(0, 2),
        revocation=REVOCATIONS,
    )
    name = draw(st.sampled_from(["desk", "lap"]))
    return {"type": "node", "node_id": NODE, "friendly_name": name, **draw(agent), **draw(control), **draw(UNKNOWN)}


@st.composite
def assignments(draw: st.DrawFn) -> dict[str, Any]:
    label = st.sampled_from(["red", "blue", "grün"])
    times = st.dictionaries(label, some(added=TIMES | st.none(), removed=TIMES, later=st.integers(0, 1)), max_size=3)
    return {
        "type": "label_assignment",
        "node_id": NODE,
        "export_path": "/a",
        "labels": draw(st.lists(label, unique=True, max_size=3)),
        "updated_at": draw(TIMES),
        **draw(some(label_times=times, updated_by=st.sampled_from(["x", "y"]) | st.none())),
        **draw(UNKNOWN),
    }


@st.composite
def notifications(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "type": "notification",
        "source": {"node_id": NODE, "component": "cache"},
        "severity": draw(st.sampled_from(["info", "error"])),
        "title": draw(st.sampled_from(["full", "fuller"])),
        "condition_key": "cache_near_capacity",
        "first_seen": draw(TIMES),
        "last_seen": draw(TIMES),
        **draw(
            some(
                status=st.sampled_from(["active", "acknowledged", "resolved"]),
                occurrence_count=st.integers(1, 3),
                acknowledged_at=TIMES | st.none(),
                resolved_at=TIMES,
            )
        ),
        **draw(UNKNOWN),
    }


def same_type(bodies: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[tuple[dict[str, Any], ...]]:
    return st.tuples(bodies, bodies, bodies)


THREE = same_type(nodes()) | same_type(credentials()) | same_type(assignments()) | same_type(notifications())
IDS = {
    "node": documents.node_document_id(NODE),
    "credential": documents.credential_document_id(KEY),
    "label_assignment": documents.label_assignment_id(NODE, "/a"),
    "notification": documents.notification_document_id(NODE, "cache_near_capacity"),
}


@given(THREE)
@settings(max_examples=600, deadline=None)
def test_the_algebra(three: tuple[dict[str, Any], ...]) -> None:
    a, b, c = three
    merge = MERGES[a["type"]]
    before = [dict(a), dict(b)]
    ab = merge(a, b)
    assert [a, b] == before
    assert ab == merge(b, a)
    assert merge(a, a) == a
    assert merge(ab, c) == merge(a, merge(b, c))
    assert merge(ab, a) == ab == merge(ab, b) == merge(ab, ab)
    assert documents.is_valid({"_id": IDS[a["type"]], **ab})


@given(st.data())
@settings(deadline=None)
def test_the_order_of_the_leaves_does_not_matter(data: st.DataObject) -> None:
    bodies = data.draw(st.lists(assignments(), min_size=2, max_size=4))
    leaves = [{**body, "_id": IDS["label_assignment"], "_rev": f"2-{index}"} for index, body in enumerate(bodies)]
    merged = merge_leaves("label_assignment", leaves)
    assert merged == merge_leaves("label_assignment", data.draw(st.permutations(leaves)))
    assert not [key for key in merged if key.startswith("_")]


def _standing(group: dict[str, Any], counter: str) -> tuple[int, int]:
    """How new a group is: a later revocation outweighs all that was written without knowing of it."""
    return (group.get("revocation") or {}).get("number", 0), group.get(counter, 0)


@given(nodes(), nodes())
def test_each_group_of_a_node_comes_whole_from_its_newer_side(a: dict[str, Any], b: dict[str, Any]) -> None:
    merged = merge_nodes(a, b)
    for fields, counter in (
        (documents.NODE_AGENT_FIELDS, "agent_version"),
        (documents.NODE_CONTROL_FIELDS, "control_version"),
    ):
        group = {field: merged[field] for field in fields if field in merged}
        sides = [{field: side[field] for field in fields if field in side} for side in (a, b)]
        assert group in sides
        assert _standing(group, counter) == max(_standing(side, counter) for side in sides)


def assignment(labels: list[str], **times: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "label_assignment",
        "node_id": NODE,
        "export_path": "/a",
        "labels": labels,
        "label_times": times,
        "updated_at": documents.format_time(0),
    }


def at(second: int) -> str:
    return documents.format_time(second * 1_000_000)


def test_per_label_the_newer_of_added_and_removed() -> None:
    home = assignment(["red", "blue"], red={"added": at(1)}, blue={"added": at(5), "removed": at(2)})
    away = assignment(["green"], red={"added": at(1), "removed": at(3)}, green={"added": at(4)})
    assert merge_label_assignments(home, away)["labels"] == ["blue", "green"]
    added_again = assignment(["red"], red={"added": at(3)})
    assert merge_label_assignments(away, added_again)["labels"] == ["green", "red"]


def test_a_label_without_times_stays_until_somebody_removes_it() -> None:
    old, other = assignment(["red"]), assignment(["blue"], blue={"added": at(1)})
    assert merge_label_assignments(old, other)["labels"] == ["blue", "red"]
    removed = assignment([], red={"removed": at(1)})
    assert merge_label_assignments(old, removed)["labels"] == []


def notification(**fields: Any) -> dict[str, Any]:
    return {
        "type": "notification",
        "source": {"node_id": NODE, "component": "cache"},
        "severity": "warning",
        "title": "Cache almost full",
        "condition_key": "cache_near_capacity",
        "first_seen": at(1),
        "last_seen": at(1),
        "status": "active",
        "occurrence_count": 1,
        **fields,
    }


def test_an_acknowledgement_holds_while_the_condition_is_merely_still_true() -> None:
    acknowledged = notification(status="acknowledged", acknowledged_at=at(3))
    still_true = notification(last_seen=at(9))
    assert merge_notifications(acknowledged, still_true) == {**acknowledged, "last_seen": at(9)}


def test_what_came_back_is_active_again_and_the_acknowledgement_is_remembered() -> None:
    acknowledged = notification(status="acknowledged", acknowledged_at=at(3))
    again = notification(occurrence_count=2, last_seen=at(9), severity="error")
    assert merge_notifications(acknowledged, again) == {**again, "acknowledged_at": at(3)}


def test_a_resolved_condition_stays_resolved() -> None:
    acknowledged = notification(status="acknowledged", acknowledged_at=at(3))
    resolved = notification(status="resolved", resolved_at=at(2))
    merged = merge_notifications(acknowledged, resolved)
    assert (merged["status"], merged["acknowledged_at"], merged["resolved_at"]) == ("resolved", at(3), at(2))


def test_a_type_with_one_writer_keeps_the_winner() -> None:
    winner, loser = {"_id": "x", "_rev": "2-b", "type": "plugin", "a": 1}, {"_id": "x", "_rev": "2-a", "type": "plugin"}
    assert merge_leaves("plugin", [winner, loser]) == {"type": "plugin", "a": 1}


@given(nodes(), nodes())
def test_a_later_revocation_of_a_node_outweighs_any_other_changes(a: dict[str, Any], b: dict[str, Any]) -> None:
    a = {**a, "status": "disabled", "revocation": {"number": 3, "proof": "p"}, "control_version": 0}
    merged = merge_nodes(a, {**b, "control_version": 99})
    assert (merged["status"], merged["revocation"]) == ("disabled", a["revocation"])


@given(credentials(), credentials())
def test_a_key_that_was_disabled_at_one_side_is_disabled(a: dict[str, Any], b: dict[str, Any]) -> None:
    a = {**a, "enabled": False, "revocation": {"number": 3, "proof": "p"}}
    merged = merge_credentials(a, b)
    assert (merged["enabled"], merged["revocation"]) == (False, a["revocation"])
    again = {**b, "enabled": True, "revocation": {"number": 3, "proof": "p"}}
    assert merge_credentials(a, again)["enabled"] is False
    known_since = {**b, "enabled": True, "revocation": {"number": 4, "proof": "p"}}
    assert merge_credentials(a, known_since)["enabled"] is True


@given(credentials(), credentials())
def test_a_key_that_one_side_bound_to_a_machine_stays_bound(a: dict[str, Any], b: dict[str, Any]) -> None:
    bound = {side["node_id"] for side in (a, b) if "node_id" in side}
    assert {merge_credentials(a, b).get("node_id")} <= (bound or {None})
