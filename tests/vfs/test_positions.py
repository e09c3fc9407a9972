"""Protects the counting of files per directory, on which it depends which sub-directories are shown."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_vfs.namespace.positions import Tally

# 1 is a root; 2 and 3 lie in it, 4 in 3. In the second tree the same, with children numbered before their parents.
TREES = {"parents first": [0, 0, 1, 1, 3], "children first": [0, 3, 4, 4, 0]}
ROOTS = {"parents first": 1, "children first": 4}


@pytest.mark.parametrize("name", TREES)
@given(
    begin=st.lists(st.integers(1, 4)),
    edits=st.lists(st.tuples(st.booleans(), st.integers(1, 4))),
)
def test_counting_from_nothing_equals_counting_along(
    name: str, begin: list[int], edits: list[tuple[bool, int]]
) -> None:
    parents = array("I", TREES[name])
    tally = Tally(parents)
    tally.fill(array("I", [begin.count(number) for number in range(5)]))
    files = list(begin)
    for add, directory in edits:
        before = [tally.count(number) > 0 for number in range(1, 5)]
        flipped: set[int] = set()
        if add:
            files.append(directory)
            tally.add(directory, flipped)
        elif directory in files:
            files.remove(directory)
            tally.remove(directory, flipped)
        after = [tally.count(number) > 0 for number in range(1, 5)]
        assert flipped == {number for number in range(1, 5) if before[number - 1] != after[number - 1]}
    fresh = Tally(parents)
    fresh.fill(array("I", [files.count(number) for number in range(5)]))
    assert list(tally.counts) == list(fresh.counts)
    assert tally.count(ROOTS[name]) == len(files)
    assert tally.count(99) == 0
