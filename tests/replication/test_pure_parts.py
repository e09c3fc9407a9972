"""Protects what replication decides without input or output: where to go on from, how much to move at once, how long to
wait, and how feeds are read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.errors import NotAllowed, NotFound, NotSignedIn, Stale, Unavailable, UserError
from mosaicfs_core.replication import EVERYTHING, Filter, Row, Status, checkpoints, combined
from mosaicfs_core.replication.batching import BYTES, FIRST, LARGEST, SMALLEST, BatchSize
from mosaicfs_core.replication.checkpoints import Entry, Log
from mosaicfs_core.replication.http_errors import error_of
from mosaicfs_core.replication.http_feed import Lines, page
from mosaicfs_core.replication.peer import Choked

# Logs


def grown(count: int, session: str = "s", before: tuple[Entry, ...] = ()) -> tuple[Entry, ...]:
    entries = before
    for _ in range(count):
        number = entries[0].ordinal + 1 if entries else 1
        entries = checkpoints.added(entries, session, number * 10, "t")
    return entries


def test_a_log_survives_its_document() -> None:
    log = Log(grown(5), "0-3")
    document = json.loads(json.dumps(checkpoints.write(log)))
    assert checkpoints.read(document) == log
    assert document["source_last_seq"] == 50
    assert checkpoints.read(None) == Log()


@pytest.mark.parametrize(
    "history", [None, "x", [None], [{}], [{"session_id": 1, "recorded_seq": 1, "ordinal": 1, "end_time": ""}]]
)
def test_a_foreign_log_counts_as_none(history: object) -> None:
    assert checkpoints.read({"_rev": "0-1", "history": history}) == Log((), "0-1")


def test_the_newest_shared_entry_is_where_to_go_on() -> None:
    shared = grown(3)
    mine, theirs = Log(grown(2, "mine", shared)), Log(grown(1, "theirs", shared))
    assert checkpoints.common(mine, theirs) == shared[0]
    assert checkpoints.common(mine, Log()) is None
    assert checkpoints.common(Log(grown(3, "other")), mine) is None


@given(st.integers(1, 3_000), st.integers(0, 3_000))
def test_a_restored_log_finds_an_entry_about_as_old_as_its_backup(old: int, lost: int) -> None:
    backup = grown(old)
    present = grown(lost, before=backup)
    found = checkpoints.common(Log(present), Log(backup))
    assert len(present) <= 8 * 13
    if lost * 2 < old:
        assert found is not None
        assert old - found.ordinal <= lost + 8
    assert checkpoints.has_forgotten(Log(backup), Log(present)) == (lost > 0)


def test_a_side_that_was_written_first_has_forgotten_nothing_after_a_kill_in_between() -> None:
    second = grown(4)
    first = grown(1, before=second)
    assert not checkpoints.has_forgotten(Log(first), Log(second))
    assert not checkpoints.has_forgotten(Log(first), Log())
    assert checkpoints.has_forgotten(Log(), Log(second))


def test_the_replication_id_depends_on_both_sides_and_the_filter() -> None:
    first = checkpoints.replication_id("a", "b", EVERYTHING)
    assert first == checkpoints.replication_id("a", "b", Filter())
    others = [("b", "a", EVERYTHING), ("a", "b", Filter("mine")), ("a", "b", Filter(selector={"type": "file"}))]
    assert len({first, *[checkpoints.replication_id(*other) for other in others]}) == 4


# How much, how long


def test_quick_batches_grow_and_slow_ones_shrink() -> None:
    size = BatchSize()
    assert size.documents == FIRST
    for _ in range(9):
        size.moved(size.documents, 0.1)
    assert size.documents == LARGEST
    size.moved(LARGEST, 5.0)
    assert size.documents == LARGEST // 2
    for _ in range(20):
        size.failed()
    assert size.documents == SMALLEST


def test_a_small_quick_batch_says_nothing() -> None:
    size = BatchSize()
    size.moved(1, 0.001)
    assert size.documents == FIRST


def test_heavy_documents_travel_in_small_batches() -> None:
    size = BatchSize()
    size.weighed(10, 10 << 20)
    assert size.documents == BYTES // (1 << 20)
    size.weighed(1, BYTES * 3)
    assert size.documents == 1


def test_what_was_too_heavy_once_stays_so() -> None:
    size = BatchSize()
    size.weighed(10, 10 << 20)
    size.too_heavy()
    for _ in range(9):
        size.moved(size.documents, 0.1)
    assert size.documents == BYTES // (1 << 20) // 2
    for _ in range(30):
        size.too_heavy()
    size.weighed(1, 1)
    assert size.documents == SMALLEST


# What the other side says


def test_a_page_of_changes() -> None:
    body = {"results": [{"seq": "5-x", "id": "a", "changes": [{"rev": "1-a"}, {"rev": "1-b"}]}], "last_seq": "6-y"}
    found = page(json.dumps(body).encode(), 0, 100)
    assert (found.rows, found.last_seq, found.ended) == ([Row("a", ("1-a", "1-b"))], "6-y", True)
    assert not page(json.dumps(body).encode(), 0, 1).ended
    assert not page(json.dumps({**body, "pending": 3}).encode(), 0, 100).ended
    assert page(b'{"results":[],"last_seq":[7,"x"],"pending":0}', 0, 9).last_seq == '[7,"x"]'


def test_a_page_that_does_not_move_on_is_the_end() -> None:
    assert page(b'{"results":[],"last_seq":4,"pending":9}', 4, 100).ended
    assert not page(b'{"results":[],"last_seq":5,"pending":9}', 4, 100).ended


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"results":[{"id":1}]}'])
def test_an_unreadable_page_is_tried_again(body: bytes) -> None:
    with pytest.raises(Unavailable):
        page(body, 0, 1)


@given(st.lists(st.integers(1, 40)), st.integers(1, 3))
def test_lines_cut_anywhere_make_the_same_rows(cuts: list[int], limit: int) -> None:
    text = b"\n".join(
        [
            b'{"seq":1,"id":"a","changes":[{"rev":"1-a"}]}',
            b"",
            b'{"seq":2,"id":"b","changes":[{"rev":"1-b"}]}',
            b'{"seq":"3-q","id":"c","changes":[{"rev":"1-c"}],"deleted":true}',
            b'{"last_seq":"4-r","pending":0}',
            b"",
        ]
    )
    lines, pages, rest = Lines(limit), [], text
    for cut in [*cuts, len(text)]:
        chunk, rest = rest[:cut], rest[cut:]
        pages += [found for found in lines.feed(chunk) if found is not None]
    assert [row.id for found in pages for row in found.rows] == ["a", "b", "c"]
    assert all(len(found.rows) <= limit for found in pages)
    assert lines.ended
    assert pages[-1].last_seq == "4-r"


def test_a_blank_line_is_a_heartbeat() -> None:
    assert list(Lines(9).feed(b"\n")) == [None]
    assert list(Lines(9).feed(b'{"seq":1,')) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, NotSignedIn),
        (403, NotAllowed),
        (404, NotFound),
        (405, NotFound),
        (409, Stale),
        (400, UserError),
        (413, UserError),
        (429, Unavailable),
        (500, Choked),
        (503, Unavailable),
    ],
)
def test_answers_as_errors(status: int, kind: type[Exception]) -> None:
    error = error_of(status, b'{"error":"odd","reason":"because"}', "7")
    assert type(error) is kind
    assert "odd: because" in error.message
    if isinstance(error, Unavailable):
        assert error.retry_after == 7.0
    assert "answered" in error_of(status, b"<html>", "tomorrow").message


def test_one_status_for_several() -> None:
    push = Status("live", pushed=3, pending=1, lag_s=2.0)
    pull = Status("waiting", pulled=4, pending=2, lag_s=1.0, last_error="gone", refused=1)
    assert combined([push, pull], conflicts=2) == Status("waiting", 3, 4, 3, 2.0, "gone", 1, 2)
    assert combined([]) == Status()
