"""Protects the pure parts of the agent: what speaks for a move, MIME types, free inodes, schedules and joined
requests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mosaicfs_core.agent.plan import (
    Candidate,
    compare,
    deleted_document,
    free_inodes,
    mime_type_of,
    moved_document,
    same_file,
)
from mosaicfs_core.agent.schedule import joined, next_nightly
from mosaicfs_core.documents import times
from mosaicfs_core.hooks import CrawlRequest, Create, Entry
from mosaicfs_core.testing.store import file_document


def test_a_listing_is_compared_with_what_is_known() -> None:
    known = [("same", 1, 5, 10, 1), ("grown", 1, 5, 11, 1), ("back", 1, 5, 12, None), ("gone", 1, 5, 13, 1)]
    listed = [Entry("same", 1, 5), Entry("grown", 2, 5), Entry("back", 1, 5), Entry("new", 1, 5)]
    difference = compare(listed, known, complete=True)
    assert [entry.name for entry in difference.created] == ["new"]
    assert [doc for _, doc in difference.changed] == [11, 12]
    assert difference.gone == [13]
    assert compare(listed, known, complete=False).gone == []


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({}, True),
        ({"gone": False}, False),
        ({"size": 2}, False),
        ({"size": 2, "name": "new"}, True),
        ({"size": 2, "name": None}, False),
        ({"size": 2, "born": 4}, True),
        ({"size": 2, "born": 6}, False),
        ({"active": False}, True),
        ({"active": False, "size": 2, "name": "new"}, False),
    ],
)
def test_an_inode_number_alone_proves_no_move(changes: dict[str, object], moved: bool) -> None:
    candidate = Candidate("file::n::u", "old", 1, 5, active=True, gone=True)._replace(**changes)
    assert same_file(Entry("new", 1, 5, 7, 7), candidate) is moved


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.PDF", "application/pdf"), ("a.tar.gz", "application/gzip"), ("README", None), (".txt", None), ("a.", None)],
)
def test_mime_types_go_by_the_extension(name: str, expected: str | None) -> None:
    assert mime_type_of(name) == expected


def test_taken_inodes_give_way_to_the_next_free_one() -> None:
    assert free_inodes([5, 8, 8, 9], {5, 6}) == ([7, 8, 9, 10], {0, 2, 3})


def test_the_nightly_crawl_is_the_next_one_of_its_hour() -> None:
    now = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    assert next_nightly(now, "03:00") == datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
    assert next_nightly(now, "02:30") == datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
    assert next_nightly(now, "") is None


def test_waiting_requests_are_joined() -> None:
    part = CrawlRequest(trigger="watch", prefixes=("/a",))
    assert joined(part, CrawlRequest(trigger="watch", prefixes=("/b", "/a"))).prefixes == ("/a", "/b")
    whole = joined(part, CrawlRequest(trigger="manual", full=True))
    assert (whole.prefixes, whole.full) == ((), True)


def test_a_file_that_moves_again_keeps_the_place_where_its_labels_are() -> None:
    moved = moved_document(file_document("/a/one.txt"), "/b/two.txt")
    assert moved["moved_from"] == "/a/one.txt"
    again = moved_document({**moved, "_rev": "2-x"}, "/c/three.txt")
    assert again["moved_from"] == "/a/one.txt"
    assert deleted_document(again, 0)["moved_from"] == "/a/one.txt"
    assert "moved_from" not in moved_document(again, "/a/one.txt")


@pytest.mark.parametrize("years", [-20_000, 20_000])
def test_a_time_that_no_document_can_hold_differs_from_none(years: int) -> None:
    mtime = years * 365 * times.MICROS_PER_DAY
    known = times.parse_canonical(times.format_time(mtime))
    assert compare([Entry("odd", 1, mtime)], [("odd", 1, known, 7, 1)], complete=True) == ([], [], [])
    assert same_file(Entry("moved", 1, mtime, 7, 7), Candidate("file::a::b", "odd", 1, known, active=True, gone=True))
    assert compare([Entry("odd", 1, mtime)], [("odd", 1, 0, 7, 1)], complete=True).changed != []


async def test_such_a_file_is_written_once(sources: Any) -> None:
    odd = Create(export_path="/t/odd", size=1, mtime=20_000 * 365 * times.MICROS_PER_DAY)
    await sources.say("the disk", odd)
    before = sources.document("/t/odd")["_rev"]
    await sources.say("the disk", odd)
    assert sources.document("/t/odd")["_rev"] == before
