"""Signing in and out: ``/api/auth``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from quart_schema import document_response, validate_request

from mosaicfs_core.documents import times
from mosaicfs_core.errors import NotAllowed, NotSignedIn
from mosaicfs_core.security.addresses import is_loopback
from mosaicfs_core.server.auth import credentials
from mosaicfs_core.server.auth.guard import client_address
from mosaicfs_core.server.auth.limits import address_group
from mosaicfs_core.server.auth.revocations import still_holds
from mosaicfs_core.server.auth.sessions import LINK_SECONDS, REFRESH_SECONDS, Refreshed
from mosaicfs_core.server.errors import TooManyRequests
from mosaicfs_core.server.listing import json_answer
from mosaicfs_core.server.state import ServerState, principal, state, whoami
from mosaicfs_core.server.stored import documents_of

COOKIE: Final = "mosaicfs_refresh"
COOKIE_PATH: Final = "/api/auth"
blueprint = Blueprint("auth", __name__, url_prefix="/api/auth")

Secret = Annotated[str, Meta(min_length=1, max_length=200)]


class Login(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An access key and its secret."""

    access_key_id: Annotated[str, Meta(min_length=1, max_length=100)]
    secret_key: Secret


class LinkToken(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The token of a one-time login link (what stands behind ``#bootstrap=``)."""

    token: Secret


class CreatedKey(msgspec.Struct, kw_only=True):
    """An access key with its secret, which is shown this once."""

    access_key_id: str
    secret_key: str


class SessionAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Signed in: send ``Authorization: Bearer {access_token}`` until ``expires_at``, then refresh. ``created`` is set
    when a login link made the instance's first key."""

    access_token: str
    expires_at: str
    access_key_id: str
    created: CreatedKey | None = None


class WhoAmI(msgspec.Struct, kw_only=True):
    """Who is asking: ``kind`` is user, agent, local, link, node or hub. ``control_plane_id`` and ``control_plane_key``
    (its public key) say who answers, where that is a control plane: a machine asks before it enrols."""

    kind: str
    name: str
    access_key_id: str | None = None
    session: str | None = None
    node_id: str | None = None
    control_plane_id: str | None = None
    control_plane_key: str | None = None


class LinkAnswer(msgspec.Struct, kw_only=True):
    """A one-time login link: open ``url`` before ``expires_at``. ``token`` is what ``auth/bootstrap`` takes."""

    url: str
    token: str
    expires_at: str


class SignedOut(msgspec.Struct, kw_only=True):
    """The session has ended."""

    signed_out: bool = True


@blueprint.post("/login")
@validate_request(Login)
@document_response(SessionAnswer)
async def login(data: Login) -> Response:
    """Sign in with an access key.

    Answers a token for 15 minutes and sets the refresh cookie. Too many attempts answer 429 with ``Retry-After``. An
    agent's key signs its own requests, a hub's is for /db: they open no session (403).
    """
    server = state()
    by_key = f"{address_group(client_address(request))}|{data.access_key_id}"
    _throttle(server, by_key)
    document = await credentials.check_login(server, data.access_key_id, data.secret_key)
    server.login_by_key.forget(by_key)
    if document["kind"] != "user":
        raise NotAllowed(f"this is a key of kind {document['kind']}, which signs in nobody; make one of kind user")
    return _signed_in(server, await credentials.begin_session(server, document))


@blueprint.post("/bootstrap")
@validate_request(LinkToken)
@document_response(SessionAnswer)
async def bootstrap(data: LinkToken) -> Response:
    """Sign in with a one-time login link.

    On an instance without an enabled user key this makes the first one and shows its secret.
    """
    server = state()
    _throttle(server)
    await server.sessions.use_link(data.token)
    created = None
    key = await _first_user_key(server)
    if key is None:
        new = await credentials.create(server, "Owner", "user")
        key = new.document
        created = CreatedKey(access_key_id=key["access_key_id"], secret_key=new.secret_key)
    return _signed_in(server, await credentials.begin_session(server, key), created)


@blueprint.post("/refresh")
@document_response(SessionAnswer)
async def refresh() -> Response:
    """Exchange the refresh cookie for a new token and the next cookie.

    A cookie is good for one use; one that comes back later ends its session. 409 means that another tab refreshed a
    moment ago: repeat the request, the browser has the new cookie by then.
    """
    server = state()
    token = request.cookies.get(COOKIE)
    if not token:
        raise NotSignedIn("there is no session in this browser; sign in")
    refreshed = await server.sessions.refresh(token)
    document = await server.core.store.get(f"credential::{refreshed.access_key_id}")
    if not still_holds(document, refreshed.revocations):
        await server.sessions.end(refreshed.session)
        raise NotSignedIn("this access key was disabled")
    return _signed_in(server, refreshed)


@blueprint.post("/logout")
@document_response(SignedOut)
async def logout() -> Response:
    """End the session: its token and its cookie stop working at once."""
    server, asking = state(), principal()
    if asking.session is not None:
        await server.sessions.end(asking.session)
    token = request.cookies.get(COOKIE)
    if token:
        await server.sessions.end_by_token(token)
    answer = json_answer(SignedOut())
    answer.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="Strict", secure=request.is_secure)
    return answer


@blueprint.get("/whoami")
@document_response(WhoAmI)
async def who_am_i() -> dict[str, Any]:
    """Tell who is asking, and which control plane answers."""
    identity = state().identity
    answering = {"control_plane_id": identity.node_id, "control_plane_key": identity.key.public}
    return {**whoami(), **(answering if identity.control_plane else {})}


@blueprint.post("/link")
@document_response(LinkAnswer, 201)
async def link() -> Response:
    """Make a one-time login link, good for an hour; a former one stops working. Only for the home's owner, locally."""
    if principal().kind != "local":
        raise NotAllowed("only the mosaicfs command on the instance's own machine makes login links")
    token = await state().sessions.new_link()
    expires = times.format_time(times.now_micros() + LINK_SECONDS * 1_000_000)
    return json_answer(LinkAnswer(url=f"{request.host_url}#bootstrap={token}", token=token, expires_at=expires), 201)


def _throttle(server: ServerState, by_key: str | None = None) -> None:
    """Raise ``TooManyRequests`` when the caller, or the caller with this key, has tried too often.

    All users of this machine share its loopback address: one of them must not lock the owner out, so only the key
    counts there.
    """
    address = client_address(request)
    wait = 0.0 if is_loopback(address) else server.login_by_address.take(address_group(address))
    if by_key is not None:
        wait = max(wait, server.login_by_key.take(by_key))
    if wait:
        raise TooManyRequests("too many attempts to sign in; wait and try again", retry_after=wait)


async def _first_user_key(server: ServerState) -> Mapping[str, Any] | None:
    found = await documents_of(server.core.store, "credential")
    users = [document for document in found if document["kind"] == "user" and document["enabled"]]
    return min(users, key=lambda document: document["created_at"]) if users else None


def _signed_in(server: ServerState, session: Refreshed, created: CreatedKey | None = None) -> Response:
    token, expires = server.tokens.issue_session(session.access_key_id, session.session, session.revocations)
    body = SessionAnswer(
        access_token=token,
        expires_at=times.format_time(expires * 1_000_000),
        access_key_id=session.access_key_id,
        created=created,
    )
    answer = json_answer(body)
    # ``Secure`` whenever the connection is: plain HTTP is served on loopback alone, where nobody can listen and some
    # browsers refuse to keep a Secure cookie.
    answer.set_cookie(
        COOKIE,
        session.refresh_token,
        max_age=REFRESH_SECONDS,
        path=COOKIE_PATH,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )
    return answer
