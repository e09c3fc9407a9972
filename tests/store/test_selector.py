"""Protects selectors: each operator's meaning, and that what is not understood is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.errors import UserError
from mosaicfs_core.store.selector import compile_selector, equalities, sort_key

DOCUMENT = {
    "type": "file",
    "size": 12,
    "none": None,
    "yes": True,
    "source": {"node_id": "n", "deep": {"x.y": 1}},
    "labels": ["red", "blue"],
    "mounts": [{"a": 1, "b": 2}, {"a": 3}],
}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"type": "file"}, True),
        ({"type": {"$eq": "file"}, "size": {"$gt": 11, "$lte": 12}}, True),
        ({"size": {"$lt": 12}}, False),
        ({"size": {"$gte": 13}}, False),
        ({"size": {"$ne": 12}}, False),
        ({"absent": {"$ne": 12}}, False),
        ({"source.node_id": "n"}, True),
        ({"source": {"node_id": "n"}}, True),
        ({"source.deep.x\\.y": 1}, True),
        ({"mounts.1.a": 3}, True),
        ({"size": {"$in": [1, 12]}}, True),
        ({"labels": {"$in": ["red"]}}, True),
        ({"size": {"$nin": [1, 12]}}, False),
        ({"absent": {"$nin": [1]}}, False),
        ({"none": {"$exists": True}}, True),
        ({"absent": {"$exists": False}}, True),
        ({"none": {"$type": "null"}}, True),
        ({"yes": 1}, False),
        ({"yes": {"$type": "number"}}, False),
        ({"labels": {"$size": 2}}, True),
        ({"labels": {"$all": ["blue", "red"]}}, True),
        ({"labels": {"$all": ["green"]}}, False),
        ({"mounts": {"$elemMatch": {"a": 1, "b": 2}}}, True),
        ({"mounts": {"$elemMatch": {"a": 3, "b": 2}}}, False),
        ({"labels": {"$elemMatch": {"$regex": "^b"}}}, True),
        ({"type": {"$regex": "il"}}, True),
        ({"size": {"$regex": "1"}}, False),
        ({"size": {"$mod": [5, 2]}}, True),
        ({"$and": [{"type": "file"}, {"size": 12}]}, True),
        ({"$or": [{"type": "node"}, {"size": 12}]}, True),
        ({"$nor": [{"type": "node"}, {"size": 12}]}, False),
        ({"$not": {"type": "node"}}, True),
        ({"size": {"$not": {"$gt": 20}}}, True),
        ({"size": {"$or": [{"$lt": 1}, {"$gt": 10}]}}, True),
        ({"type": {"$gt": None}}, True),
        ({"labels": ["red", "blue"]}, True),
    ],
)
def test_operators(selector: dict[str, Any], expected: bool) -> None:
    assert compile_selector(selector)(DOCUMENT) is expected


@pytest.mark.parametrize(
    "selector",
    [
        {"a": {"$near": 1}},
        {"$text": "x"},
        {"a": {"$in": 5}},
        {"$and": {}},
        {"a": {"$exists": 1}},
        {"a": {"$type": "date"}},
        {"a": {"$size": -1}},
        {"a": {"$mod": [0, 1]}},
        {"a": {"$regex": "(?<=x)y"}},
        {"a": {"$regex": 5}},
    ],
)
def test_what_is_not_understood_is_refused(selector: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        compile_selector(selector)


def test_equalities() -> None:
    selector = {"type": "file", "$and": [{"a": {"$eq": 1}}], "b": {"$gt": 1}, "$or": [{"c": 1}]}
    assert equalities(selector) == {"type": "file", "a": 1}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=1), inner, max_size=2),
    max_leaves=4,
)


@given(VALUES, VALUES)
def test_values_have_one_order(one: Any, other: Any) -> None:
    less, more = sort_key(one) < sort_key(other), sort_key(one) > sort_key(other)
    assert [less, more, sort_key(one) == sort_key(other)].count(True) == 1
