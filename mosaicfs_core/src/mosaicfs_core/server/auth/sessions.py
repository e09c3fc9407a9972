"""Node-local sign-in state in ``auth.db``: sessions with rotating refresh tokens, and one-time links.

Only SHA-256 hashes of tokens are kept (they carry 256 random bits, so a fast hash is enough). A refresh token is used
once: using it hands out its successor, and seeing it again later means that it was copied, which ends the session for
everyone who holds a token of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from mosaicfs_core.errors import Conflict, MosaicError, NotSignedIn, Unavailable
from mosaicfs_core.server.auth.seen import Seen

logger = logging.getLogger(__name__)
T = TypeVar("T")

REFRESH_SECONDS: Final = 30 * 24 * 3600
LINK_SECONDS: Final = 3600
KEEP_SEEN_S: Final = 600.0
"""How often it is written down who was heard of: a crash forgets no more, and a disk that sleeps is left alone."""
FORGET_SECONDS: Final = 24 * 3600
"""What is over is dropped at start, and by the first sign-in or refresh after so long."""

# Two tabs that wake together send the same cookie. The later one is told to try again with the cookie its twin was
# given (no token is handed out for it), instead of ending the session as stolen.
REUSE_GRACE_SECONDS: Final = 10

# What tells a token of ours from any other text, so that logs can hide it wherever it appears.
REFRESH_PREFIX: Final = "mosaicfsr_"
LINK_PREFIX: Final = "mosaicfsb_"
LOCAL_PREFIX: Final = "mosaicfsl_"

# Hashes of tokens, times in Unix seconds. A session is one sign-in: the family of refresh tokens that grew from it.
# ``revocations`` is how many times its key had been disabled by then. ``seen`` is when somebody was heard of last: a
# caller with an access key, or a node, whose id then stands for one.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sessions (
    session TEXT PRIMARY KEY, access_key_id TEXT NOT NULL, created REAL NOT NULL, used REAL NOT NULL, revoked REAL,
    revocations INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash BLOB PRIMARY KEY, session TEXT NOT NULL, expires REAL NOT NULL, used REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (access_key_id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refresh_by_session ON refresh_tokens (session);
CREATE TABLE IF NOT EXISTS links (hash BLOB PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
"""


_SEE: Final = "INSERT OR REPLACE INTO seen (access_key_id, at) VALUES (?, ?)"


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """A session after sign-in or refresh: whose it is, its id, the next refresh token (plain, for the cookie), and how
    many times its key had been disabled when it began: once more ends it."""

    access_key_id: str
    session: str
    refresh_token: str
    revocations: int = 0


class Sessions:
    """The sessions of one instance.

    One connection, used by one thread: each call is one short transaction that runs there from beginning to end, so
    whoever asked may be cancelled at any moment (a client that hangs up) without leaving half of it behind.
    """

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, clock: Callable[[], float]) -> None:
        self._db = connection
        self._thread = thread
        self._clock = clock
        self._revoked: set[str] = set()
        self.seen = Seen(clock)
        self._forgotten = 0.0

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Sessions:
        """Open or create the database, readable by its owner alone."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="sessions")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _connect, path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        sessions = cls(connection, thread, clock)
        await sessions._run(sessions._forget_the_old)
        await sessions._run(sessions._recall_the_seen)
        return sessions

    async def close(self) -> None:
        """Close the database once what is under way has ended."""
        try:
            await self.keep_seen()
        except Unavailable as error:
            logger.warning("when keys were used last is forgotten: %s", error, extra={"operation": "sessions"})
        await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown()

    async def keep_seen(self) -> None:
        """Write down who was heard of since the last time. Raises ``Unavailable``."""
        if moments := self.seen.unkept():
            await self._run(lambda db: db.executemany(_SEE, moments.items()))
            self.seen.kept(moments)

    async def keep_on(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """``keep_seen`` every ``KEEP_SEEN_S``, until cancelled."""
        while True:
            await pause(KEEP_SEEN_S)
            await self.keep_seen()

    def is_revoked(self, session: str) -> bool:
        """Whether the session was ended by sign-out or reuse. Answered from memory: asked on every request."""
        return session in self._revoked

    async def begin(self, access_key_id: str, revocations: int = 0) -> Refreshed:
        """A new session of a key that has just proved itself, and was disabled so many times before."""

        def begin(db: sqlite3.Connection) -> Refreshed:
            session, now = secrets.token_urlsafe(16), self._clock()
            self._forget_in_time(db, now)
            db.execute(
                "INSERT INTO sessions (session, access_key_id, created, used, revocations) VALUES (?, ?, ?, ?, ?)",
                (session, access_key_id, now, now, revocations),
            )
            token = self._add_token(db, session)
            return Refreshed(access_key_id=access_key_id, session=session, refresh_token=token, revocations=revocations)

        begun = await self._run(begin)
        self.seen.note(access_key_id)
        return begun

    async def refresh(self, token: str) -> Refreshed:
        """Use a refresh token up and hand out its successor.

        Raises ``NotSignedIn`` for an unknown, expired or revoked one, and for one used before, which ends its session;
        ``Conflict`` for one used a moment ago by a concurrent request.
        """
        return await self._run(partial(self._refresh, digest=_digest(token)))

    def _refresh(self, db: sqlite3.Connection, *, digest: bytes) -> Refreshed:
        now = self._clock()
        self._forget_in_time(db, now)
        row = db.execute(
            "SELECT t.session, t.expires, t.used, s.access_key_id, s.revoked, s.revocations FROM refresh_tokens t"
            " JOIN sessions s ON s.session = t.session WHERE t.hash = ?",
            (digest,),
        ).fetchone()
        if row is None:
            raise NotSignedIn("sign in again")
        session, expires, used, access_key_id, revoked, revocations = row
        if used is not None and revoked is None:
            if now - used <= REUSE_GRACE_SECONDS:
                raise Conflict("the session was refreshed a moment ago; try again with the new cookie")
            self._revoke(db, session)
            raise NotSignedIn("this session was used from two places and has been ended; sign in again")
        if revoked is not None or expires <= now:
            raise NotSignedIn("the session is over; sign in again")
        db.execute("UPDATE refresh_tokens SET used = ? WHERE hash = ?", (now, digest))
        db.execute("UPDATE sessions SET used = ? WHERE session = ?", (now, session))
        successor = self._add_token(db, session)
        return Refreshed(access_key_id=access_key_id, session=session, refresh_token=successor, revocations=revocations)

    async def end(self, session: str) -> None:
        """Sign a session out."""
        await self._run(lambda db: self._revoke(db, session))

    async def end_by_token(self, token: str) -> None:
        """Sign out the session that a refresh token belongs to, if any."""

        def end(db: sqlite3.Connection) -> None:
            row = db.execute("SELECT session FROM refresh_tokens WHERE hash = ?", (_digest(token),)).fetchone()
            if row is not None:
                self._revoke(db, str(row[0]))

        await self._run(end)

    async def end_all_of(self, access_key_id: str) -> int:
        """Sign out every session of a key; how many there were."""

        def end(db: sqlite3.Connection) -> int:
            rows = db.execute(
                "SELECT session FROM sessions WHERE access_key_id = ? AND revoked IS NULL", (access_key_id,)
            ).fetchall()
            for (session,) in rows:
                self._revoke(db, session)
            return len(rows)

        return await self._run(end)

    async def new_link(self) -> str:
        """A token for a one-time login link, good for an hour. It takes the place of every former one."""
        token = LINK_PREFIX + secrets.token_urlsafe(32)

        def replace(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM links")
            db.execute(
                "INSERT INTO links (hash, expires) VALUES (?, ?)", (_digest(token), self._clock() + LINK_SECONDS)
            )

        await self._run(replace)
        return token

    async def use_link(self, token: str) -> None:
        """Use a one-time link up. Raises ``NotSignedIn`` when it is unknown, used, or over."""

        def use(db: sqlite3.Connection) -> bool:
            row = db.execute("DELETE FROM links WHERE hash = ? RETURNING expires", (_digest(token),)).fetchone()
            return row is not None and float(row[0]) > self._clock()

        if not await self._run(use):
            raise NotSignedIn("this login link was used or is over; ask for a new one with `mosaicfs credentials link`")

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one transaction in the sessions' thread. Raises ``Unavailable`` when the file cannot be used."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """All or nothing; what was decided before ``NotSignedIn`` or ``Conflict`` stands."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                value = work(self._db)
            except MosaicError:
                self._db.execute("COMMIT")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"The sign-in database cannot be used: {error}. `mosaicfs doctor` checks it.") from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        return value

    def _add_token(self, db: sqlite3.Connection, session: str) -> str:
        token = REFRESH_PREFIX + secrets.token_urlsafe(32)
        db.execute(
            "INSERT INTO refresh_tokens (hash, session, expires) VALUES (?, ?, ?)",
            (_digest(token), session, self._clock() + REFRESH_SECONDS),
        )
        return token

    def _revoke(self, db: sqlite3.Connection, session: str) -> None:
        self._revoked.add(session)
        db.execute("UPDATE sessions SET revoked = ? WHERE session = ? AND revoked IS NULL", (self._clock(), session))

    def _forget_in_time(self, db: sqlite3.Connection, now: float) -> None:
        if now - self._forgotten >= FORGET_SECONDS:
            self._forget_the_old(db)

    def _forget_the_old(self, db: sqlite3.Connection) -> None:
        """Drop what nobody can use any more; remember the revoked sessions whose short tokens may still be about.

        A used token stays until it would have expired: it tells that it was copied.
        """
        now = self._forgotten = self._clock()
        db.execute("DELETE FROM links WHERE expires <= ?", (now,))
        db.execute("DELETE FROM sessions WHERE used <= ?", (now - REFRESH_SECONDS,))
        db.execute(
            "DELETE FROM refresh_tokens WHERE expires <= ? OR session NOT IN (SELECT session FROM sessions)", (now,)
        )
        self._revoked = {str(row[0]) for row in db.execute("SELECT session FROM sessions WHERE revoked IS NOT NULL")}

    def _recall_the_seen(self, db: sqlite3.Connection) -> None:
        self.seen.recall({str(caller): float(at) for caller, at in db.execute("SELECT access_key_id, at FROM seen")})


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        if not any(column[1] == "revocations" for column in connection.execute("PRAGMA table_info(sessions)")):
            connection.execute("ALTER TABLE sessions ADD COLUMN revocations INTEGER NOT NULL DEFAULT 0")
    except sqlite3.Error as error:
        connection.close()
        text = f"The sign-in database {path} cannot be used: {error}. `mosaicfs doctor` checks it."
        raise Unavailable(text) from error
    return connection


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
