"""Memory of a live ``mosaicfs up`` at 100,000 and 500,000 files, crawl included, and disk per file document."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.instance import Instance, running, wait
from benchmarks.rows import Row, medians, rounds_at
from benchmarks.trees import tree


def peak_while(instance: Instance, files: int) -> float:
    """The largest proportional set size seen until ``files`` are indexed and once more after, in MB."""
    seen = [instance.proportional_megabytes()]

    def done() -> bool:
        seen.append(instance.proportional_megabytes())
        return instance.indexed() >= files

    wait(done, f"{files} files to be indexed")
    seen.append(instance.proportional_megabytes())
    return max(seen)


def measure(files: int) -> tuple[float, float]:
    """Peak memory in MB and bytes on disk per file document, of a fresh instance over a tree of so many files."""
    root = tree(files)
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as place:
        home = Path(place)
        with running([root], 0, home) as instance:
            peak = peak_while(instance, files)
        size = sum(path.stat().st_size for path in home.glob("replica.db*"))
    return peak, size / files


def one_round(small: int, large: int) -> dict[str, float]:
    """Both sizes, each in a process of its own."""
    small_peak, _ = measure(small)
    large_peak, per_file = measure(large)
    return {"peak": large_peak, "growth": large_peak - small_peak, "per file": per_file}


def run(scale: float = 1.0) -> list[Row]:
    """The promises about memory and disk."""
    small, large, rounds = int(100_000 * scale), int(500_000 * scale), rounds_at(scale)
    found = medians([one_round(small, large) for _ in range(rounds)])
    large_peak, growth, per_file = found["peak"], found["growth"], found["per file"]
    growing = f"its growth from {small:,} to {large:,} files"
    disk = "disk per file document with its indexes"
    return [
        Row(
            f"proportional set size of `up`, peak at {large:,} files",
            large_peak,
            "MB",
            {},
            "≤ 200 MB",
            large_peak <= 200,
            rounds=rounds,
        ),
        Row(growing, growth, "MB", {}, "≤ 20 MB", growth <= 20, rounds=rounds),
        Row(disk, per_file, "bytes", {}, "≤ 1,000 bytes", per_file <= 1000, rounds=rounds),
    ]
