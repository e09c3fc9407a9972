"""The first crawl as ``up`` shows it: when it counts as standing still, and what is said in the end."""

from __future__ import annotations

from mosaicfs_core.cli.crawl_progress import Pace, summary


def test_a_crawl_that_stands_still_is_noticed_and_one_that_moves_is_not() -> None:
    pace = Pace(3.0, now=0.0)
    assert not pace.stalled((1, 0), now=2.0)
    assert not pace.stalled((1, 0), now=4.9)
    assert not pace.stalled((1, 1), now=5.1)
    assert not pace.stalled((1, 1), now=8.0)
    assert pace.stalled((1, 1), now=8.1)


def test_the_last_line_counts_files_and_names_who_is_busy() -> None:
    assert summary(1, [], 0.12) == "1 file in 0.1 s"
    assert summary(2000, [], 3.0) == "2,000 files in 3.0 s"
    assert summary(0, ["a", "b"], 3.0).startswith("0 files so far; still crawling in the background: a, b")
