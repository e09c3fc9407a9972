"""The measurements still run: each at a tiny size, where its figures mean nothing and its rows must be whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["store", "crawl", "namespace", "search", "replication", "transfer"])
def test_a_benchmark_runs(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks", name, "--scale", "0.002"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    header, _, *rows = [text for text in ran.stdout.splitlines() if text.startswith("|")]
    assert rows, ran.stdout
    assert {row.count(" | ") for row in rows} == {header.count(" | ")}
