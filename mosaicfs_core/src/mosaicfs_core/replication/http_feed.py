"""The answers of a ``_changes`` request as pages of changes. Pure: text goes in, pages come out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..errors import Unavailable
from .peer import Page, Row, Seq


class _Rev(msgspec.Struct):
    rev: str


class _Change(msgspec.Struct):
    """A row of any feed; the last line of a continuous one has no ``id``, or an ``error`` when the source failed."""

    id: str = ""
    changes: list[_Rev] = []
    seq: Any = None
    last_seq: Any = None
    pending: int | None = None
    error: Any = None
    reason: Any = None


class _Answer(msgspec.Struct):
    results: list[_Change]
    last_seq: Any = None
    pending: int | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_line = msgspec.json.Decoder(_Change).decode


def position(value: Any) -> Seq:
    """A sequence as the peer wants it back: clusters of old gave an array, which goes as its JSON."""
    return value if type(value) in (int, str) else msgspec.json.encode(value).decode()


def page(body: bytes, since: Seq, limit: int) -> Page:
    """The answer of a normal or longpoll feed. Raises Unavailable when it is cut short or no such answer."""
    try:
        answer = _decode_answer(body)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"The changes feed answered something unreadable: {error}") from None
    rows = [_row(change) for change in answer.results]
    last = answer.results[-1].seq if answer.results and answer.last_seq is None else answer.last_seq
    reached = since if last is None else position(last)
    full = len(rows) >= limit if answer.pending is None else answer.pending > 0
    # A source that hides documents may answer short pages before the end; one that does not move on has ended.
    return Page(rows, reached, answer.pending, not full or (not rows and reached == since))


class Lines:
    """Puts a continuous feed together from chunks of any size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self.ended = False
        """The source has said its last line."""

    def feed(self, chunk: bytes) -> Iterator[Page | None]:
        """The changes that the chunk completes, as pages of at most ``limit``; None for a heartbeat."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        rows: list[Row] = []
        last: Seq = 0
        for line in lines:
            if not line.strip():
                continue
            change = self._line(line)
            if change.seq is None or not change.id:
                self.ended = True
                if change.last_seq is not None:
                    last = position(change.last_seq)
                break
            rows.append(_row(change))
            last = position(change.seq)
            if len(rows) == self._limit:
                yield Page(rows, last)
                rows = []
        if rows or (self.ended and last):
            yield Page(rows, last)
        elif lines:
            yield None

    def _line(self, line: bytes) -> _Change:
        try:
            change = _decode_line(line)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"The changes feed sent something unreadable: {error}") from None
        if change.error is not None:
            raise Unavailable(f"The changes feed broke off: {change.error}: {change.reason}")
        return change


def _row(change: _Change) -> Row:
    return Row(change.id, tuple([one.rev for one in change.changes]))
