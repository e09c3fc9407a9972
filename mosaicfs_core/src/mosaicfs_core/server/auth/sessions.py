"""Node-local sign-in state in ``auth.db``: sessions with rotating refresh tokens, and one-time links.

Only SHA-256 hashes of tokens are kept (they carry 256 random bits, so a fast hash is enough). A refresh token is used
once: using it hands out its successor, and seeing it again later means that it was copied, which ends the session for
everyone who holds a token of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiosqlite
import msgspec

from mosaicfs_core.errors import Conflict, MosaicError, NotSignedIn

REFRESH_SECONDS: Final = 30 * 24 * 3600
LINK_SECONDS: Final = 3600

# Two tabs that wake together send the same cookie. The later one is told to try again with the cookie its twin was
# given (no token is handed out for it), instead of ending the session as stolen.
REUSE_GRACE_SECONDS: Final = 10

# Hashes of tokens, times in Unix seconds. A session is one sign-in: the family of refresh tokens that grew from it.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sessions (
    session TEXT PRIMARY KEY, access_key_id TEXT NOT NULL, created REAL NOT NULL, used REAL NOT NULL, revoked REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash BLOB PRIMARY KEY, session TEXT NOT NULL, expires REAL NOT NULL, used REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refresh_by_session ON refresh_tokens (session);
CREATE TABLE IF NOT EXISTS links (hash BLOB PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
"""


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """A session after sign-in or refresh: whose it is, its id, and the next refresh token (plain, for the cookie)."""

    access_key_id: str
    session: str
    refresh_token: str


class Sessions:
    """The sessions of one instance. One connection, one lock: every call is one short transaction."""

    def __init__(self, connection: aiosqlite.Connection, clock: Callable[[], float]) -> None:
        self._db = connection
        self._clock = clock
        self._lock = asyncio.Lock()
        self._revoked: set[str] = set()

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Sessions:
        """Open or create the database, readable by its owner alone."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        connection = await aiosqlite.connect(path, isolation_level=None)
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")
        await connection.executescript(_SCHEMA)
        sessions = cls(connection, clock)
        await sessions._forget_the_old()
        return sessions

    async def close(self) -> None:
        """Close the database."""
        await self._db.close()

    def is_revoked(self, session: str) -> bool:
        """Whether the session was ended by sign-out or reuse. Answered from memory: asked on every request."""
        return session in self._revoked

    async def begin(self, access_key_id: str) -> Refreshed:
        """A new session of a key that has just proved itself."""
        session, now = secrets.token_urlsafe(16), self._clock()
        async with self._transaction():
            await self._db.execute(
                "INSERT INTO sessions (session, access_key_id, created, used) VALUES (?, ?, ?, ?)",
                (session, access_key_id, now, now),
            )
            token = await self._add_token(session)
        return Refreshed(access_key_id=access_key_id, session=session, refresh_token=token)

    async def refresh(self, token: str) -> Refreshed:
        """Use a refresh token up and hand out its successor.

        Raises ``NotSignedIn`` for an unknown, expired or revoked one, and for one used before, which ends its session;
        ``Conflict`` for one used a moment ago by a concurrent request.
        """
        digest, now = _digest(token), self._clock()
        async with self._transaction():
            row = await self._fetch(
                "SELECT t.session, t.expires, t.used, s.access_key_id, s.revoked FROM refresh_tokens t"
                " JOIN sessions s ON s.session = t.session WHERE t.hash = ?",
                (digest,),
            )
            if row is None:
                raise NotSignedIn("sign in again")
            session, expires, used, access_key_id, revoked = row
            if used is not None and revoked is None:
                if now - used <= REUSE_GRACE_SECONDS:
                    raise Conflict("the session was refreshed a moment ago; try again with the new cookie")
                await self._revoke(session)
                raise NotSignedIn("this session was used from two places and has been ended; sign in again")
            if revoked is not None or expires <= now:
                raise NotSignedIn("the session is over; sign in again")
            await self._db.execute("UPDATE refresh_tokens SET used = ? WHERE hash = ?", (now, digest))
            await self._db.execute("UPDATE sessions SET used = ? WHERE session = ?", (now, session))
            successor = await self._add_token(session)
        return Refreshed(access_key_id=access_key_id, session=session, refresh_token=successor)

    async def end(self, session: str) -> None:
        """Sign a session out."""
        async with self._transaction():
            await self._revoke(session)

    async def end_by_token(self, token: str) -> None:
        """Sign out the session that a refresh token belongs to, if any."""
        async with self._transaction():
            row = await self._fetch("SELECT session FROM refresh_tokens WHERE hash = ?", (_digest(token),))
            if row is not None:
                await self._revoke(str(row[0]))

    async def end_all_of(self, access_key_id: str) -> int:
        """Sign out every session of a key; how many there were."""
        async with self._transaction():
            rows = await self._db.execute_fetchall(
                "SELECT session FROM sessions WHERE access_key_id = ? AND revoked IS NULL", (access_key_id,)
            )
            for (session,) in rows:
                await self._revoke(session)
        return len(list(rows))

    async def new_link(self) -> str:
        """A token for a one-time login link, good for an hour. It takes the place of every former one."""
        token = secrets.token_urlsafe(32)
        async with self._transaction():
            await self._db.execute("DELETE FROM links")
            await self._db.execute(
                "INSERT INTO links (hash, expires) VALUES (?, ?)", (_digest(token), self._clock() + LINK_SECONDS)
            )
        return token

    async def use_link(self, token: str) -> None:
        """Use a one-time link up. Raises ``NotSignedIn`` when it is unknown, used, or over."""
        async with self._transaction():
            row = await self._fetch("DELETE FROM links WHERE hash = ? RETURNING expires", (_digest(token),))
        if row is None or float(row[0]) <= self._clock():
            raise NotSignedIn("this login link was used or is over; ask for a new one with `mosaicfs credentials link`")

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """One caller at a time, all or nothing; what was decided before ``NotSignedIn`` or ``Conflict`` stands."""
        async with self._lock:
            await self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except MosaicError:
                await self._db.execute("COMMIT")
                raise
            except BaseException:
                await self._db.execute("ROLLBACK")
                raise
            await self._db.execute("COMMIT")

    async def _add_token(self, session: str) -> str:
        token = secrets.token_urlsafe(32)
        await self._db.execute(
            "INSERT INTO refresh_tokens (hash, session, expires) VALUES (?, ?, ?)",
            (_digest(token), session, self._clock() + REFRESH_SECONDS),
        )
        return token

    async def _revoke(self, session: str) -> None:
        self._revoked.add(session)
        await self._db.execute(
            "UPDATE sessions SET revoked = ? WHERE session = ? AND revoked IS NULL", (self._clock(), session)
        )

    async def _fetch(self, sql: str, arguments: tuple[object, ...]) -> aiosqlite.Row | None:
        async with self._db.execute(sql, arguments) as cursor:
            return await cursor.fetchone()

    async def _forget_the_old(self) -> None:
        """Drop what nobody can use any more; remember the revoked sessions whose short tokens may still be about."""
        now = self._clock()
        await self._db.execute("DELETE FROM links WHERE expires <= ?", (now,))
        await self._db.execute("DELETE FROM sessions WHERE used <= ?", (now - REFRESH_SECONDS,))
        await self._db.execute("DELETE FROM refresh_tokens WHERE session NOT IN (SELECT session FROM sessions)")
        rows = await self._db.execute_fetchall("SELECT session FROM sessions WHERE revoked IS NOT NULL")
        self._revoked = {str(session) for (session,) in rows}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
