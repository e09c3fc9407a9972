"""Byte ranges: whatever a header asks, what is served is a slice of the file, and never more than the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.hooks import etag_matches
from mosaicfs_core.server.ranges import MAX_RANGES, ByteRange, MultipartRanges, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-9", [ByteRange(0, 10)]),
        ("bytes=90-", [ByteRange(90, 100)]),
        ("bytes=-5", [ByteRange(95, 100)]),
        ("bytes=-500", [ByteRange(0, 100)]),
        ("bytes=90-500", [ByteRange(90, 100)]),
        ("Bytes = 0-0 , 5-6", [ByteRange(0, 1), ByteRange(5, 7)]),
        ("bytes=100-", []),
        ("bytes=-0", []),
        ("bytes=200-300,0-0", [ByteRange(0, 1)]),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=", None),
        ("lines=0-1", None),
        ("bytes=0-99,0-99", None),
        ("bytes=" + ",".join("0-0" for _ in range(MAX_RANGES + 1)), None),
        ("bytes=0-99999999999999999999", None),
        ("bytes=0-9\u0669", None),
    ],
)
def test_ranges_as_the_standard_has_them(header: str | None, expected: list[ByteRange] | None) -> None:
    assert parse_range(header, 100) == expected


@given(st.integers(0, 10_000), st.text(alphabet="bytes=0123456789-, \t", max_size=60) | st.text(max_size=40))
def test_no_header_asks_for_bytes_outside_of_the_file(size: int, header: str) -> None:
    parts = parse_range(header, size)
    for part in parts or []:
        assert 0 <= part.start < part.stop <= size
    assert sum(part.length for part in parts or []) <= size


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 500)), min_size=2, max_size=5), st.integers(1, 1000))
def test_the_announced_length_of_several_parts_is_theirs(spans: list[tuple[int, int]], size: int) -> None:
    parts = [ByteRange(start, start + length) for start, length in spans]
    framing = MultipartRanges(parts, size, "text/plain")
    body = b"".join(head + bytes(part.length) for head, part in zip(framing.heads, parts, strict=True)) + framing.tail
    assert len(body) == framing.length


@pytest.mark.parametrize(
    ("header", "weak", "expected"),
    [
        (None, False, False),
        ("*", False, True),
        ('"a"', False, True),
        ('"b", "a"', False, True),
        ('W/"a"', False, False),
        ('W/"a"', True, True),
        ('"A"', True, False),
        ("a", False, False),
    ],
)
def test_entity_tags(header: str | None, weak: bool, expected: bool) -> None:
    assert etag_matches(header, '"a"', weak=weak) is expected
