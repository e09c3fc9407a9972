"""Protects effective labels: the assignment together with every enabled rule that covers the path, however many."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core.rules import EffectiveLabels, LabelRules, rule_covers

NODES = st.sampled_from(["n1", "n2"])
COMPONENTS = st.sampled_from(["a", "b", "ab"])
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
LABELS = st.lists(st.sampled_from(["x", "y", "z", "w"]), min_size=1, max_size=2)
RULES = st.fixed_dictionaries(
    {
        "node_id": st.sampled_from(["n1", "n2", "*"]),
        "path_prefix": st.one_of(st.just("/"), PATHS.map(lambda path: path + "/")),
        "labels": LABELS,
        "enabled": st.booleans(),
    },
    optional={"_deleted": st.just(True)},
)
ASSIGNMENTS = st.fixed_dictionaries({"node_id": NODES, "export_path": PATHS, "labels": LABELS})


def brute_force(assignments: list[dict[str, Any]], rules: list[dict[str, Any]], node_id: str, path: str) -> set[str]:
    labels: set[str] = set()
    for assignment in assignments:
        if (assignment["node_id"], assignment["export_path"]) == (node_id, path):
            labels = set(assignment["labels"])
    for rule in rules:
        covers = rule["node_id"] in ("*", node_id) and path.startswith(rule["path_prefix"])
        if covers and rule["enabled"] and not rule.get("_deleted"):
            labels |= set(rule["labels"])
    return labels


@settings(max_examples=500, deadline=None)
@given(
    st.lists(ASSIGNMENTS, max_size=5),
    st.lists(RULES, max_size=6),
    st.lists(st.tuples(NODES, PATHS), min_size=1, max_size=6),
)
def test_effective_labels_equal_brute_force(
    assignments: list[dict[str, Any]], rules: list[dict[str, Any]], files: list[tuple[str, str]]
) -> None:
    effective = EffectiveLabels(assignments, rules)
    for node_id, path in files * 2:
        assert effective.of(node_id, path) == brute_force(assignments, rules, node_id, path)
        for rule in rules:
            assert rule_covers(rule, node_id, path) is bool(brute_force([], [rule], node_id, path))


def test_a_rule_covers_what_is_beneath_and_not_the_like_named() -> None:
    rules = LabelRules([{"node_id": "*", "path_prefix": "/home/a/", "labels": ["x"]}])
    assert rules
    assert rules.for_file("n", "/home/a/b/c") == {"x"}
    assert rules.for_directory("n", "/home/a") == {"x"}
    assert rules.for_file("n", "/home/ab/c") == set()
    assert rules.for_file("n", "/home/a") == set()
    assert LabelRules([{"node_id": "*", "path_prefix": "/", "labels": ["x"]}]).for_file("n", "/f") == {"x"}
    assert not LabelRules()


def test_assignments_taken_away_count_no_more() -> None:
    gone = {"node_id": "n", "export_path": "/f", "labels": ["x"], "_deleted": True}
    empty = {"node_id": "n", "export_path": "/g", "labels": []}
    effective = EffectiveLabels([gone, empty])
    assert not effective.of("n", "/f") | effective.of("n", "/g")
