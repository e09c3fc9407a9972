"""The first crawl as ``up`` shows it: when it counts as standing still, and what is said in the end."""

from __future__ import annotations

from pathlib import Path

from mosaicfs_core.cli.crawl_progress import Pace, files_of, summary
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE, file_document


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
    assert summary(3, [], 3.0, incomplete=True) == "3 files known, not all of them looked at"
    assert summary(0, ["a", "b"], 3.0).startswith("0 files so far; still crawling in the background: a, b")


async def test_only_files_of_the_machine_and_of_its_folders_are_counted(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    for path in ("/a/1", "/a/deep/2", "/b/3", "/mail/4"):
        await store.put(file_document(path))
    await store.put(file_document("/a/gone", status="deleted"))
    await store.put(file_document("/a/theirs", node_id="node-lamp-bbbb"))
    assert files_of(store.reader, NODE, ("/a",)) == 2
    assert files_of(store.reader, NODE, ("/a", "/b", "/nothing")) == 3
    assert files_of(store.reader, NODE, ()) == 4
    await store.close()
