"""SQLite's errors in our words, at the store's edge: what its caller can neither cause nor mend is ``Unavailable``."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from ..errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NO_ROOM: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNUSABLE: Final = _DAMAGED | {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
}
BUSY_SECONDS: Final = 1.0


def write_error(error: BaseException) -> BaseException:
    """What to tell of a failed write: ``Unavailable`` for a full, failing, damaged or locked file; others as they
    are."""
    kind = _kind(error)
    if kind in _NO_ROOM:
        text = f"The replica cannot be written, nothing was changed: {error}. Is the disk full?"
    elif kind in _UNUSABLE:
        text = f"The replica cannot be written, nothing was changed: {error}. `mosaicfs doctor` checks it."
    else:
        return _locked(error, kind)
    return _caused(Unavailable(text), error)


def for_want_of_room(error: BaseException | None) -> bool:
    """Whether an error that ``write_error`` told comes of a disk that is full or fails."""
    return isinstance(error, Unavailable) and error.__cause__ is not None and _kind(error.__cause__) in _NO_ROOM


def read_error(error: BaseException) -> BaseException:
    """What to tell of a failed read: ``Unavailable`` for a failing, damaged or locked file; others as they are."""
    kind = _kind(error)
    if kind in _NO_ROOM | _UNUSABLE:
        return _caused(Unavailable(f"The replica cannot be read: {error}. `mosaicfs doctor` checks it."), error)
    return _locked(error, kind)


def open_error(error: BaseException, file: Path) -> BaseException:
    """What to tell of a replica that could not be opened: ``read_error``, of a damaged one with what to do."""
    if not is_damage(error):
        return read_error(error)
    return _caused(Unavailable(f"The replica {file} is damaged ({error}). To go on: {anew(file)}."), error)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file itself is damaged. All else tells nothing of it, so it must not be given up."""
    return _kind(error) in _DAMAGED


def anew(replica: Path) -> str:
    """What to do about a damaged replica. What SQLite has beside it would be taken for the new one's."""
    return f"stop MosaicFS, move {replica}* away and start it again: it indexes anew (labels come from a backup)"


def reads(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A method that reads, with its errors told by ``read_error``."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except sqlite3.Error as error:
            raise read_error(error)  # noqa: B904 - it has its cause

    return call


def _kind(error: BaseException) -> int | None:
    """The primary result code; None for what SQLite did not raise."""
    code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
    return None if code is None else code & 0xFF


def _locked(error: BaseException, kind: int | None) -> BaseException:
    if kind in _BUSY:
        return _caused(Unavailable("The replica is locked by another process.", retry_after=BUSY_SECONDS), error)
    return error


def _caused(told: Unavailable, error: BaseException) -> Unavailable:
    told.__cause__ = error
    return told
