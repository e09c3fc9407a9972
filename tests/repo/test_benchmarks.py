"""The measurements still run: each at a tiny size, where its figures mean nothing and its rows must be whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name", ["store", "crawl", "namespace", "search", "replication", "transfer", "jobs", "plugins", "fulltext"]
)
def test_a_benchmark_runs(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks", name, "--scale", "0.002"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    header, _, *rows = [text for text in ran.stdout.splitlines() if text.startswith("|")]
    assert rows, ran.stdout
    assert {row.count(" | ") for row in rows} == {header.count(" | ")}


def test_the_page_says_of_each_benchmark_when_and_where_it_ran_and_how_often_it_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.__main__ import render
    from benchmarks.rows import Result, Row

    page = render(
        {
            "store": Result("2026-01-02", "a laptop", [Row("point read", 18.0, "µs", rounds=5)]),
            "mount": Result("2026-03-04", "a server", [Row("one pass", 2.0, "s", {"bare": 1.0}, "≤ 3 × bare", True)]),
        }
    )
    store, mount = page.split("## Store")[1].split("## Mount")
    assert "Measured 2026-01-02 on a laptop." in store
    assert "| point read | 18 µs | 5 |" in store
    assert "Measured 2026-03-04 on a server." in mount
    assert "| one pass | 2 s | 1 | bare 1 (2.00 ×) | ≤ 3 × bare | kept |" in mount
