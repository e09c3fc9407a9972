"""Sessions: a refresh token works once, its reuse ends the session, what is on disk opens nothing, and a request that
is cancelled anywhere breaks nothing for those after it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import Conflict, NotSignedIn, Unavailable
from mosaicfs_core.server.auth.seen import Seen
from mosaicfs_core.server.auth.sessions import (
    KEEP_SEEN_S,
    LINK_SECONDS,
    REFRESH_SECONDS,
    REUSE_GRACE_SECONDS,
    Refreshed,
    Sessions,
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sessions(tmp_path: Path, clock: Clock) -> AsyncIterator[Sessions]:
    opened = await Sessions.open(tmp_path / "auth.db", clock=clock)
    yield opened
    await opened.close()


async def test_refreshing_hands_out_the_next_token_of_the_same_session(sessions: Sessions) -> None:
    first = await sessions.begin("MOSAICFS_00")
    second = await sessions.refresh(first.refresh_token)
    third = await sessions.refresh(second.refresh_token)
    assert first.session == second.session == third.session
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert third.access_key_id == "MOSAICFS_00"


async def test_reuse_ends_the_session_for_the_thief_and_the_owner(sessions: Sessions, clock: Clock) -> None:
    first = await sessions.begin("MOSAICFS_00")
    second = await sessions.refresh(first.refresh_token)
    clock.now += REUSE_GRACE_SECONDS + 1
    with pytest.raises(NotSignedIn, match="two places"):
        await sessions.refresh(first.refresh_token)
    assert sessions.is_revoked(first.session)
    with pytest.raises(NotSignedIn):
        await sessions.refresh(second.refresh_token)


async def test_two_tabs_at_once_do_not_end_the_session(sessions: Sessions) -> None:
    first = await sessions.begin("MOSAICFS_00")
    second = await sessions.refresh(first.refresh_token)
    with pytest.raises(Conflict):
        await sessions.refresh(first.refresh_token)
    assert not sessions.is_revoked(first.session)
    await sessions.refresh(second.refresh_token)


async def test_a_token_expires(sessions: Sessions, clock: Clock) -> None:
    first = await sessions.begin("MOSAICFS_00")
    clock.now += REFRESH_SECONDS
    with pytest.raises(NotSignedIn):
        await sessions.refresh(first.refresh_token)


async def test_signing_out_ends_one_session_and_disabling_a_key_all_of_its(sessions: Sessions) -> None:
    first, second, other = [await sessions.begin(key) for key in ("MOSAICFS_00", "MOSAICFS_00", "MOSAICFS_01")]
    await sessions.end_by_token(first.refresh_token)
    assert sessions.is_revoked(first.session)
    assert not sessions.is_revoked(second.session)
    assert await sessions.end_all_of("MOSAICFS_00") == 1
    assert sessions.is_revoked(second.session)
    assert not sessions.is_revoked(other.session)


async def test_a_link_works_once_and_only_the_newest_does(sessions: Sessions, clock: Clock) -> None:
    old, new = await sessions.new_link(), await sessions.new_link()
    with pytest.raises(NotSignedIn):
        await sessions.use_link(old)
    await sessions.use_link(new)
    with pytest.raises(NotSignedIn):
        await sessions.use_link(new)
    late = await sessions.new_link()
    clock.now += LINK_SECONDS
    with pytest.raises(NotSignedIn):
        await sessions.use_link(late)


async def test_sessions_and_their_ends_survive_a_restart(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "auth.db"
    before = await Sessions.open(file, clock=clock)
    kept, ended = await before.begin("MOSAICFS_00", 2), await before.begin("MOSAICFS_00")
    await before.end(ended.session)
    await before.close()
    after = await Sessions.open(file, clock=clock)
    try:
        assert after.is_revoked(ended.session)
        assert not after.is_revoked(kept.session)
        assert (await after.refresh(kept.refresh_token)).revocations == 2
        assert after.seen.last("MOSAICFS_00") == clock.now
        assert after.seen.last("MOSAICFS_01") is None
    finally:
        await after.close()


async def test_who_was_heard_of_is_written_once_for_many_requests(
    sessions: Sessions, tmp_path: Path, clock: Clock
) -> None:
    def kept() -> dict[str, float]:
        with closing(sqlite3.connect(tmp_path / "auth.db")) as database:
            return dict(database.execute("SELECT access_key_id, at FROM seen"))

    pauses: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def pause(seconds: float) -> None:
        assert seconds == KEEP_SEEN_S
        await pauses.put(over := asyncio.Event())
        await over.wait()

    keeping = asyncio.create_task(sessions.keep_on(pause))
    over = await pauses.get()
    for _ in range(1000):
        clock.now += 1
        sessions.seen.note("MOSAICFS_00")
    sessions.seen.note("node-laptop")
    first = clock.now
    assert kept() == {}
    over.set()
    over = await pauses.get()
    assert kept() == {"MOSAICFS_00": first, "node-laptop": first}
    clock.now += 1
    sessions.seen.note("node-laptop")
    assert sessions.seen.unkept() == {"node-laptop": first + 1}
    over.set()
    await pauses.get()
    assert (kept()["node-laptop"], sessions.seen.unkept()) == (first + 1, {})
    keeping.cancel()


def test_a_moment_that_came_while_others_were_written_is_still_to_be_kept(clock: Clock) -> None:
    seen = Seen(clock)
    seen.note("a")
    seen.note("b")
    writing = seen.unkept()
    clock.now += 1
    seen.note("b")
    seen.kept(writing)
    assert seen.unkept() == {"b": clock.now}


async def test_the_file_is_private_and_holds_no_token(sessions: Sessions, tmp_path: Path) -> None:
    session = await sessions.begin("MOSAICFS_00")
    link = await sessions.new_link()
    file = tmp_path / "auth.db"
    assert file.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(file)
    rows = [
        str(row)
        for table in ("sessions", "refresh_tokens", "links")
        for row in connection.execute(f"SELECT * FROM {table}")
    ]
    connection.close()
    assert len(rows) == 3
    assert not any(session.refresh_token in row or link in row for row in rows)


_CALLS: dict[str, Callable[[Sessions, Refreshed], Coroutine[Any, Any, Any]]] = {
    "begin": lambda sessions, one: sessions.begin("MOSAICFS_00"),
    "refresh": lambda sessions, one: sessions.refresh(one.refresh_token),
    "refresh with an unknown token": lambda sessions, one: sessions.refresh("unknown"),
    "end": lambda sessions, one: sessions.end(one.session),
    "end by token": lambda sessions, one: sessions.end_by_token(one.refresh_token),
    "end all": lambda sessions, one: sessions.end_all_of("MOSAICFS_00"),
    "new link": lambda sessions, one: sessions.new_link(),
    "use link": lambda sessions, one: sessions.use_link("unknown"),
}


@pytest.mark.parametrize("name", _CALLS)
async def test_a_call_cancelled_at_any_await_leaves_nothing_behind(name: str, sessions: Sessions) -> None:
    for turns in range(25):
        one = await sessions.begin("MOSAICFS_00")
        task = asyncio.create_task(_CALLS[name](sessions, one))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await sessions.use_link(await sessions.new_link())


@pytest.mark.parametrize("name", _CALLS)
async def test_a_call_cancelled_while_it_waits_for_the_file_leaves_nothing_behind(
    name: str, sessions: Sessions, tmp_path: Path
) -> None:
    one = await sessions.begin("MOSAICFS_00")
    with closing(sqlite3.connect(tmp_path / "auth.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(_CALLS[name](sessions, one))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        other.execute("COMMIT")
    await sessions.use_link(await sessions.new_link())


async def test_a_file_that_cannot_be_written_is_unavailable_and_works_again_later(
    sessions: Sessions, tmp_path: Path
) -> None:
    kept = await sessions.begin("MOSAICFS_00")
    with closing(sqlite3.connect(tmp_path / "auth.db", isolation_level=None)) as other:
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    await sessions._run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    outcomes = await asyncio.gather(*[sessions.begin("MOSAICFS_01") for _ in range(200)], return_exceptions=True)
    assert {type(one) for one in outcomes if isinstance(one, BaseException)} == {Unavailable}
    await sessions._run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    await sessions.refresh(kept.refresh_token)


async def test_a_session_that_is_refreshed_for_months_does_not_grow(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    token = (await sessions.begin("MOSAICFS_00")).refresh_token
    await sessions.begin("MOSAICFS_11")  # nobody uses this one again
    for _ in range(100):
        clock.now += 24 * 3600
        token = (await sessions.refresh(token)).refresh_token
    with closing(sqlite3.connect(tmp_path / "auth.db")) as database:
        kept = database.execute("SELECT used, expires FROM refresh_tokens").fetchall()
        assert database.execute("SELECT access_key_id FROM sessions").fetchall() == [("MOSAICFS_00",)]
    # As many as were handed out in the time in which a token is good; who copied one of these is still found out.
    assert len(kept) <= REFRESH_SECONDS // (24 * 3600) + 1
    assert all(expires > clock.now for _, expires in kept)


async def test_a_file_of_an_older_version_is_taken_over(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "auth.db"
    connection = sqlite3.connect(file)
    connection.execute("""CREATE TABLE sessions (session TEXT PRIMARY KEY, access_key_id TEXT NOT NULL,
        created REAL NOT NULL, used REAL NOT NULL, revoked REAL) WITHOUT ROWID""")
    connection.close()
    opened = await Sessions.open(file, clock=clock)
    begun = await opened.begin("MOSAICFS_00", 1)
    assert (await opened.refresh(begun.refresh_token)).revocations == 1
    await opened.close()
