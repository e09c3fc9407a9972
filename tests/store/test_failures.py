"""Protects the store's edge: a damaged, failing or locked file is told as ``Unavailable``, a mistake of ours is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.store import Store
from mosaicfs_core.store.failures import read_error, write_error
from mosaicfs_core.testing.store import file_document

READS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "info": lambda store: store.info(),
    "get": lambda store: store.get(file_document("/a")["_id"]),
    "get_many": lambda store: store.get_many([file_document("/a")["_id"]]),
    "local_get": lambda store: store.local_get("x"),
    "find": lambda store: store.find({"type": "file"}),
    "changes": lambda store: anext(store.changes()),
}


def damage(path: Path) -> None:
    """Overwrite every page but the header."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))


@pytest.mark.parametrize("name", READS)
async def test_a_damaged_file_is_unavailable(name: str, tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    store = await Store.open(path)
    await store.put(file_document("/a"))
    await store._writer.alone(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    damage(path)
    store.reader._connection.execute("PRAGMA shrink_memory").fetchall()
    with pytest.raises(Unavailable, match="cannot be read"):
        await READS[name](store)
    await store.close()


@pytest.mark.parametrize("damaged", [True, False])
async def test_a_file_that_cannot_be_opened_says_what_to_do(damaged: bool, tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    if damaged:
        path.write_text("garbage" * 200)
    else:
        path.mkdir()
    with pytest.raises(Unavailable) as caught:
        await Store.open(path)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert (f"move {path}* away" in caught.value.message) is damaged
    assert str(path) in caught.value.message or "`mosaicfs doctor`" in caught.value.message


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """As the driver raises it; extended codes carry the primary one in their lowest byte."""
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN]
)
def test_what_the_disk_did_is_unavailable(code: int) -> None:
    for told in (read_error(sqlite_error(code)), write_error(sqlite_error(code))):
        assert isinstance(told, Unavailable)
        assert "what SQLite says" in told.message
        assert isinstance(told.__cause__, sqlite3.Error)


def test_a_lock_may_be_tried_again() -> None:
    told = read_error(sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT))
    assert isinstance(told, Unavailable)
    assert told.retry_after


def test_a_mistake_of_ours_stays_what_it_is() -> None:
    for error in (sqlite_error(sqlite3.SQLITE_ERROR), sqlite3.ProgrammingError("closed"), ValueError("x")):
        assert read_error(error) is error
        assert write_error(error) is error
