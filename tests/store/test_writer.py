"""Protects the writer: requests that wait share a commit, failures stay apart, closing finishes what was asked."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import MosaicError, NotFound, Stale, Unavailable
from mosaicfs_core.store import Reader, Store
from mosaicfs_core.testing.store import NODE, file_document


async def test_waiting_requests_share_a_commit(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    commits: list[str] = []
    store._writer._connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    await asyncio.gather(*[store.put(file_document(f"/{number}")) for number in range(100)])
    assert len(commits) < 30
    assert (await store.info()).documents == {"file": 100}
    await store.close()


async def test_files_that_are_gone_are_documents_and_not_among_the_files(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    assert (await store.info()).files == 0
    for path in ("/a/b/1", "/a/2", "/3"):
        await store.put(file_document(path))
    await store.put(file_document("/a/gone", status="deleted"))
    info = await store.info()
    assert (info.documents, info.files) == ({"file": 4}, 3)
    await store.close()


async def test_failures_in_a_group_stay_apart(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    wrong = {**file_document("/x"), "_rev": "1-" + "a" * 32}
    requests = [store.put(wrong if number % 3 == 1 else file_document(f"/d{number}/f")) for number in range(60)]
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert [isinstance(outcome, Stale) for outcome in outcomes] == [number % 3 == 1 for number in range(60)]
    assert (await store.info()).update_seq == 40
    root = store.reader.directory(NODE, "/")
    assert root is not None
    assert root.below == 40
    await store.close()


async def test_a_cancelled_request_harms_nobody(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    first = asyncio.create_task(store.put(file_document("/a")))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await store.put(file_document("/b"))).startswith("1-")
    await store.close()


async def test_closing_finishes_what_was_asked_and_refuses_more(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    feed = asyncio.create_task(anext(store.changes(live=True), None))
    requests = [asyncio.create_task(store.put(file_document(f"/{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert all(isinstance(rev, str) for rev in await asyncio.gather(*requests))
    await feed
    with pytest.raises(Unavailable):
        await store.put(file_document("/late"))
    assert not (tmp_path / "replica.db-wal").exists()


async def test_other_tables_share_the_transaction(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    await store.transaction(lambda tx: tx.execute("CREATE TABLE jobs(id TEXT, n INTEGER)") and None)

    def index_and_enqueue(tx: Any) -> None:
        tx.put(file_document("/a"))
        tx.execute("INSERT INTO jobs(id, n) VALUES (?, ?), (?, ?)", ("a", 1, "a", 2))
        tx.set_identity(file_document("/a")["_id"], 7, 8, "print")
        with pytest.raises(NotFound):
            tx.set_identity("file::none", 1, 2)

    await store.transaction(index_and_enqueue)
    count = await store.read(lambda reader: reader.rows("SELECT count(*), sum(n) FROM jobs"))
    assert count == [(2, 3)]
    (found,) = store.reader.files_by_identity(7, 8)
    assert found.export_path == "/a"
    assert store.reader.identities([found.doc])[found.doc].fingerprint == "print"
    await store.close()


async def test_a_reader_of_another_process_sees_commits_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    with pytest.raises(NotFound):
        Reader.open(path)
    store = await Store.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    reader = Reader.open(path)
    before = reader.data_version()
    await store.put(file_document("/a"))
    assert reader.data_version() != before
    assert reader.seq() == 1
    with pytest.raises(sqlite3.OperationalError):
        reader.rows("DELETE FROM documents")
    with reader.snapshot():
        assert reader.seq() == 1
        await store.put(file_document("/b"))
        assert reader.seq() == 1
    assert reader.seq() == 2
    reader.close()
    await store.close()


async def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    await store.transaction(lambda tx: tx.execute("UPDATE meta SET value = 99 WHERE key = 'schema_version'") and None)
    await store.close()
    with pytest.raises(MosaicError, match="layout 99"):
        await Store.open(tmp_path / "replica.db")
    with pytest.raises(NotFound):
        await Store.open(tmp_path / "none" / "replica.db")


async def test_a_request_that_races_with_closing_is_not_put_behind_the_end(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    writer, waiting = store._writer, store._writer._queue
    closing = threading.Thread(target=writer.close)

    class Late:
        """A queue that lets the other thread run as far as it can before a request arrives."""

        def put(self, request: Any) -> None:
            if request is not None:
                closing.start()
                closing.join(0.2)
            waiting.put(request)

        def __getattr__(self, name: str) -> Any:
            return getattr(waiting, name)

    writer._queue = Late()
    async with asyncio.timeout(10):
        assert (await store.put(file_document("/a"))).startswith("1-")
    closing.join()
    await store.close()


@pytest.mark.logs("^the writer of the replica has stopped")
async def test_an_unforeseen_error_fails_its_requests_and_the_rest_of_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await Store.open(tmp_path / "replica.db")

    def broken(outcomes: Any) -> Any:
        raise RuntimeError("nobody thought of this")

    with monkeypatch.context() as patched:
        patched.setattr(store._writer, "_commit", broken)
        requests = [asyncio.create_task(store.put(file_document(f"/{number}"))) for number in range(300)]
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert "nobody thought of this" in caplog.text
    with pytest.raises(Unavailable):
        await store.put(file_document("/later"))
    await store.close()
    again = await Store.open(tmp_path / "replica.db")
    assert (await again.info()).update_seq == 0
    await again.close()


@pytest.mark.logs("^a commit could not be announced")
async def test_a_commit_is_told_even_when_nobody_can_be_notified_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await Store.open(tmp_path / "replica.db")

    def broken(seq: int) -> None:
        raise RuntimeError("a listener failed")

    with monkeypatch.context() as patched:
        patched.setattr(store._writer, "_committed", broken)
        async with asyncio.timeout(20):
            assert (await store.put(file_document("/a"))).startswith("1-")
    assert "a listener failed" in caplog.text
    assert (await store.put(file_document("/b"))).startswith("1-")
    await store.close()
