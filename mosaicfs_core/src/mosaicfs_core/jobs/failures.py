"""Which instances have jobs that failed for good, and whether that is news of a few files or of the plugin.

Asked every second while an agent runs, so nothing here grows with the queue: counts that are kept, the end of an index,
and looks that stop at a bound. What has not moved is not looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mosaicfs_core.jobs.schema import BEHIND, FAILED, IN_FLIGHT, READY, RETRYING
from mosaicfs_core.store.reader_files import FileReader

COUNTED: Final = 1_000
"""Files done, and jobs that wait, beyond this many are not counted."""
FEWEST: Final = 3
"""Fewer failed files are never the plugin's fault, as far as one can tell."""
LATEST: Final = 10
"""Failed jobs that are looked at to tell how the latest ended."""
FEWEST_LATEST: Final = 5

_WITH_FAILURES: Final = """SELECT instance, name, sequence, failed, ready + retrying + behind + in_flight
    FROM job_instances WHERE name IS NOT NULL AND enabled = 1 AND failed > 0 ORDER BY name"""
_DONE: Final = """SELECT count(*), sum(j.doc IS NULL) FROM
    (SELECT doc FROM job_ledger WHERE instance = ?1 LIMIT ?2) AS wanted
    LEFT JOIN jobs j ON j.instance = ?1 AND j.doc = wanted.doc AND j.status = ?3"""
_LATEST_FAILED: Final = f"""SELECT sequence, last_error FROM jobs INDEXED BY jobs_by_status
    WHERE instance = ? AND status = {FAILED} ORDER BY sequence DESC LIMIT {LATEST}"""
_OLDER: Final = """SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_by_status
    WHERE instance = ? AND status = ? AND sequence < ? LIMIT ?)"""


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """What failed of an instance. ``last_error`` is of the newest failed job. ``most`` says that more failed than was
    done, of all or of the latest: it is the plugin, or what it needs, rather than the files."""

    instance: str
    failed: int
    last_error: str
    most: bool


class FailureLooks:
    """Looks at the failures again and again."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, ...], Failures] = {}

    def look(self, reader: FileReader) -> list[Failures]:
        """Of every instance that is switched on and has failed jobs, by name."""
        rows = [(*row, *reader.rows(_LATEST_FAILED, (row[0],))) for row in reader.rows(_WITH_FAILURES)]
        self._seen = {row: self._seen.get(row) or _of_instance(reader, *row) for row in rows}
        return list(self._seen.values())


def _of_instance(
    reader: FileReader, number: int, name: str, sequence: int, failed: int, open_jobs: int, *latest: tuple[int, str]
) -> Failures:
    """``latest`` are sequence and error of the newest failed jobs, newest first."""
    return Failures(
        instance=name,
        failed=failed,
        last_error=(latest[0][1] if latest else None) or "It failed.",
        most=_most_of_all(reader, number, failed) or _most_of_latest(reader, number, sequence, open_jobs, latest),
    )


def _most_of_all(reader: FileReader, number: int, failed: int) -> bool:
    """Whether more files failed than were done. One that was done once may be among those that failed, so of one more
    than twice as many as failed, more than failed are done: no need to count further."""
    if failed < FEWEST:
        return False
    enough = min(2 * failed + 1, COUNTED)
    known, done = reader.rows(_DONE, (number, enough, FAILED))[0]
    return known < COUNTED and failed > (done or 0)


def _most_of_latest(
    reader: FileReader, number: int, sequence: int, open_jobs: int, latest: Sequence[tuple[int, str]]
) -> bool:
    """Whether of the jobs that were enqueued since the first of ``latest``, and have ended, more than half failed. What
    has ended well is not kept: it is what is neither open nor failed."""
    if len(latest) < FEWEST_LATEST:
        return False
    since = latest[-1][0]
    waiting = (READY, RETRYING, BEHIND, IN_FLIGHT)
    older = sum(reader.rows(_OLDER, (number, status, since, COUNTED))[0][0] for status in waiting)
    ended = sequence - since + 1 - max(0, open_jobs - older)
    return bool(ended < 2 * len(latest))
