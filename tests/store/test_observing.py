"""Protects the seam for what must happen with a file's write: an observer sees each, in its transaction, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mosaicfs_core.store import FileWrite, Store, WriteTransaction
from mosaicfs_core.testing.store import EPOCH, annotation, assignment, file_document


class Watching:
    """Remembers what it saw; puts a document for each batch; raises when it is told to."""

    def __init__(self) -> None:
        self.seen: list[FileWrite] = []
        self.commits = 0
        self.problem: Exception | None = None

    def files_written(self, tx: WriteTransaction, writes: Sequence[FileWrite]) -> None:
        assert tx.observed
        self.seen += writes
        for write in writes:
            shown = tx.files.file_rows([write.doc])
            assert [file.size for file in shown] == ([] if write.after is None else [write.after.size])
        tx.update(
            annotation("/seen", "watch", {})["_id"], lambda _: annotation("/seen", "watch", {"n": len(self.seen)})
        )
        if self.problem is not None:
            raise self.problem

    def committed(self) -> None:
        self.commits += 1


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "replica.db") as opened:
        yield opened


def sizes(writes: Sequence[FileWrite]) -> list[tuple[int | None, int | None]]:
    return [tuple(None if part is None else part.size for part in write[1:3]) for write in writes]  # type: ignore[misc]


async def test_every_way_to_write_a_file_is_seen(store: Store) -> None:
    watching = Watching()
    await store.observe(watching)
    first, second = file_document("/a", size=1, mime_type="text/plain"), file_document("/b", size=2)
    await store.bulk([first, second, assignment("/a", "red")])
    await store.update(first["_id"], lambda present: {**(present or {}), "size": 3})
    history = {"_rev": "9-" + "f" * 32, "_revisions": {"start": 9, "ids": ["f" * 32, "e" * 32]}}
    await store.bulk([{**second, "size": 4, **history}], new_edits=False)
    await store.bulk([{**second, "size": 4, **history}], new_edits=False)  # known already
    losing = {"_rev": "2-" + "1" * 32, "_revisions": {"start": 2, "ids": ["1" * 32, "0" * 32]}}
    await store.bulk([{**second, "size": 5, **losing}], new_edits=False)  # another leaf, the winner stays
    present = await store.get(first["_id"]) or {}
    await store.put({"_id": first["_id"], "_rev": present["_rev"], "_deleted": True, "type": "file"})
    await store.put({**first, "size": 6})
    assert sizes(watching.seen) == [(None, 1), (None, 2), (1, 3), (2, 4), (3, None), (None, 6)]
    assert [write.new for write in watching.seen] == [True, True, False, False, False, False]
    after = watching.seen[0].after
    assert after is not None
    assert (after.parent, after.name, after.mime_type, after.mtime, after.shown) == ("/", "a", "text/plain", EPOCH, 1)
    said = await store.get(annotation("/seen", "watch", {})["_id"])
    assert said is not None
    assert said["data"] == {"n": 6}


async def test_what_an_observer_raises_undoes_the_write(store: Store) -> None:
    watching = Watching()
    await store.observe(watching)
    watching.problem = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        await store.put(file_document("/a"))
    assert await store.get(file_document("/a")["_id"]) is None
    assert await store.get(annotation("/seen", "watch", {})["_id"]) is None
    watching.problem = None
    await store.put(file_document("/a"))
    assert watching.commits == 1


async def test_nobody_is_told_once_nobody_observes(store: Store) -> None:
    watching = Watching()
    await store.observe(watching)
    await store.observe(None)
    await store.put(file_document("/a"))
    assert (watching.seen, watching.commits) == ([], 0)
