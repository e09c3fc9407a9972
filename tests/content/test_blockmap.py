"""The block map against a set of numbers, whatever is added and removed in whatever order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.content.blockmap import BlockMap

ranges = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
edits = st.lists(st.tuples(st.booleans(), ranges), max_size=30)


@given(edits, ranges)
def test_it_is_a_set_of_numbers(made: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]) -> None:
    blocks, model = BlockMap(), set[int]()
    for adds, (start, stop) in made:
        if adds:
            blocks.add(start, stop)
            model |= set(range(start, stop))
        else:
            blocks.remove(start, stop)
            model -= set(range(start, stop))
    assert {number for start, stop in blocks for number in range(start, stop)} == model
    assert blocks.total == len(model)
    assert all(start < stop for start, stop in blocks)
    assert all(left[1] < right[0] for left, right in pairwise(blocks)), "neither overlapping nor adjacent"
    assert blocks.has(*asked) == (set(range(*asked)) <= model)
    missing = blocks.missing(*asked)
    assert [number for part in missing for number in range(*part)] == sorted(set(range(*asked)) - model)
    assert all(left[1] < right[0] for left, right in pairwise(missing))
    again = BlockMap.from_bytes(blocks.to_bytes())
    assert again == blocks
    assert len(blocks.to_bytes()) == 16 * len(blocks)


def test_the_form_on_disk() -> None:
    assert BlockMap([(1, 2), (2, 3), (258, 259)]).to_bytes().hex() == (
        "0100000000000000030000000000000002010000000000000301000000000000"
    )


@pytest.mark.parametrize(
    "data",
    [b"x", b"\0" * 16, BlockMap([(3, 4)]).to_bytes() + BlockMap([(4, 5)]).to_bytes(), b"\2" + b"\0" * 7 + b"\1" * 8],
    ids=["short", "empty", "adjacent", "-"],
)
def test_what_it_did_not_write_is_refused_or_read_as_it_is(data: bytes) -> None:
    try:
        blocks = BlockMap.from_bytes(data)
    except ValueError:
        return
    assert blocks.to_bytes() == data


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        BlockMap([(-1, 3)])
