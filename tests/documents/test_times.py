"""Protects times: text that sorts as the moments do, and a clear refusal of what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.documents import format_time, now_micros, parse_canonical, parse_time
from mosaicfs_core.errors import UserError

MOMENTS = (
    st.datetimes(timezones=st.just(UTC))
    .map(
        lambda moment: (
            round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000 + moment.microsecond
        )
    )
    .filter(lambda micros: format_time(micros)[:4] not in ("9999", "0001"))
)


@given(MOMENTS)
def test_times_go_both_ways(micros: int) -> None:
    text = format_time(micros)
    assert len(text) == 27
    assert parse_canonical(text) == micros
    assert parse_time(text) == micros


@given(MOMENTS, MOMENTS)
def test_times_sort_as_text(one: int, other: int) -> None:
    assert (format_time(one) < format_time(other)) is (one < other)


@given(st.integers())
def test_every_number_has_a_text(micros: int) -> None:
    parse_canonical(format_time(micros))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-02-16", "2026-02-16T00:00:00.000000Z"),
        ("2026-02-16T09:22", "2026-02-16T09:22:00.000000Z"),
        ("2026-02-16T09:22:00+02:00", "2026-02-16T07:22:00.000000Z"),
        (" 2026-02-16 09:22:00.5Z ", "2026-02-16T09:22:00.500000Z"),
    ],
)
def test_people_may_write_times_as_they_do(text: str, canonical: str) -> None:
    assert format_time(parse_time(text)) == canonical


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a time"):
        parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-16T09:22:00Z",
        "2026-02-16T09:22:00.000Z",
        "2026-02-31T00:00:00.000000Z",
        "2026-02-16 09:22:00.000000Z",
        "2026-02-16T09:22:00.000000Z\n",
        "2026-02-16T09:22:00.1+0100Z",
    ],
)
def test_documents_take_one_form_only(text: str) -> None:
    with pytest.raises(UserError):
        parse_canonical(text)


def test_now_is_in_microseconds() -> None:
    assert format_time(now_micros())[:2] == "20"
