"""Memory of a live ``mosaicfs up`` at 100,000 and 500,000 files, crawl included, and disk per file document."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.instance import Instance, running, wait
from benchmarks.rows import Row
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


def run(scale: float = 1.0) -> list[Row]:
    """Both sizes, each in a process of its own."""
    small, large = int(100_000 * scale), int(500_000 * scale)
    small_peak, _ = measure(small)
    large_peak, per_file = measure(large)
    growth = large_peak - small_peak
    return [
        Row(
            f"proportional set size of `up`, peak at {large:,} files",
            large_peak,
            "MB",
            {},
            "≤ 200 MB",
            large_peak <= 200,
        ),
        Row(f"its growth from {small:,} to {large:,} files", growth, "MB", {}, "≤ 20 MB", growth <= 20),
        Row("disk per file document with its indexes", per_file, "bytes", {}, "≤ 1,000 bytes", per_file <= 1000),
    ]
