"""Signed tokens: the short one of a signed-in session and the one that opens a single file for a plain link.

JWT with HMAC-SHA256 under keys derived from the instance key, one per kind, so that neither passes for the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from mosaicfs_core.errors import NotSignedIn
from mosaicfs_core.server.auth.keys import subkey

SESSION_SECONDS: Final = 15 * 60
DOWNLOAD_SECONDS: Final = 60 * 60
_ALGORITHM: Final = "HS256"


class SessionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a session's token says: whose it is, which session it belongs to, and how many times its key had been
    disabled by then. ``expires`` in Unix seconds."""

    access_key_id: str
    session: str
    revocations: int
    expires: int


class DownloadClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a download token says: one file, and on whose behalf (``revocations`` as in a session's)."""

    access_key_id: str
    revocations: int
    file_id: str
    expires: int


class Tokens:
    """Issues and checks the tokens of one instance. ``clock`` gives Unix seconds."""

    def __init__(self, instance_key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._session_key = OctKey.import_key(subkey(instance_key, "session tokens"))
        self._download_key = OctKey.import_key(subkey(instance_key, "download tokens"))
        self._clock = clock

    def issue_session(self, access_key_id: str, session: str, revocations: int = 0) -> tuple[str, int]:
        """A session token and the Unix second it ends at."""
        expires = int(self._clock()) + SESSION_SECONDS
        claims = {"sub": access_key_id, "sid": session, "rev": revocations, "exp": expires}
        return self._sign(self._session_key, claims), expires

    def check_session(self, token: str) -> SessionClaims:
        """The claims of a session token. Raises ``NotSignedIn`` when it is not ours, altered, or over."""
        claims = self._read(self._session_key, token)
        access_key_id, session, expires = claims.get("sub"), claims.get("sid"), claims["exp"]
        if not isinstance(access_key_id, str) or not isinstance(session, str):
            raise NotSignedIn("the token is not a session's")
        return SessionClaims(
            access_key_id=access_key_id, session=session, revocations=_revocations(claims), expires=expires
        )

    def issue_download(self, access_key_id: str, file_id: str, revocations: int = 0) -> tuple[str, int]:
        """A token that opens one file's content, and the Unix second it ends at."""
        expires = int(self._clock()) + DOWNLOAD_SECONDS
        claims = {"sub": access_key_id, "file": file_id, "rev": revocations, "exp": expires}
        return self._sign(self._download_key, claims), expires

    def check_download(self, token: str, file_id: str) -> DownloadClaims:
        """The claims of a download token for this file. Raises ``NotSignedIn`` otherwise."""
        claims = self._read(self._download_key, token)
        access_key_id = claims.get("sub")
        if not isinstance(access_key_id, str) or claims.get("file") != file_id:
            raise NotSignedIn("the download link is for another file")
        return DownloadClaims(
            access_key_id=access_key_id, file_id=file_id, revocations=_revocations(claims), expires=claims["exp"]
        )

    def _sign(self, key: OctKey, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": _ALGORITHM}, claims, key)

    def _read(self, key: OctKey, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise NotSignedIn("the token does not hold; sign in again") from error
        expires = claims.get("exp")
        if not isinstance(expires, int) or isinstance(expires, bool) or expires <= self._clock():
            raise NotSignedIn("the token is over; refresh it or sign in again")
        return claims


def _revocations(claims: dict[str, Any]) -> int:
    found = claims.get("rev", 0)
    if not isinstance(found, int):
        raise NotSignedIn("the token does not hold; sign in again")
    return found
