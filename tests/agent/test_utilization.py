"""The hourly figures of a machine's filesystems."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mosaicfs_core.agent.utilization import DAY, HOUR, keep_hourly
from mosaicfs_core.documents import times
from mosaicfs_core.testing.harness import Harness

NOON = 1_767_268_800 * 1_000_000


async def test_one_for_each_hour_and_none_for_longer_than_wanted(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", only=()) as harness:
        core = harness.core
        core.settings.current = msgspec.structs.replace(core.settings.current, snapshot_days=2)
        for now in (NOON, NOON + 60_000_000, NOON + HOUR, NOON + 2 * DAY + 1):
            await keep_hourly(core, [str(tmp_path)], now)
        kept = await core.store.read(lambda reader: reader.documents_of("utilization_snapshot", (core.node_id,)))
        moments = sorted(one["captured_at"] for one in kept)
        # The first two were of one hour, of which the later word holds until it is too old.
        assert moments == [times.format_time(at) for at in (NOON + 60_000_000, NOON + HOUR, NOON + 2 * DAY + 1)]
        await keep_hourly(core, [str(tmp_path)], NOON + 2 * DAY + HOUR // 2)
        kept = await core.store.read(lambda reader: reader.documents_of("utilization_snapshot", (core.node_id,)))
        assert len(kept) == 2
        (filesystem,) = kept[0]["filesystems"]
        assert filesystem["used_bytes"] > 0
        assert filesystem["inodes_used"] <= filesystem["inodes_total"]


async def test_a_folder_that_is_missing_is_left_out(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", only=()) as harness:
        await keep_hourly(harness.core, [str(tmp_path / "gone")], NOON)
        (kept,) = await harness.store.read(lambda reader: reader.documents_of("utilization_snapshot"))
        assert kept["filesystems"] == []
