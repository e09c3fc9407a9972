"""In front of every route: who is asking, and whether a browser was tricked into asking.

Everything but ``PUBLIC`` answers 401 without a key. Cookies open nothing but ``auth/refresh`` and ``auth/logout``, and
those refuse requests that come from another site; everywhere else the caller proves itself in a header, which no other
site can make a browser send.
"""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import urlsplit

from quart import Request, Websocket, g, request, websocket

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import MosaicError, NotAllowed, NotSignedIn
from mosaicfs_core.security import presence
from mosaicfs_core.security.addresses import is_loopback
from mosaicfs_core.security.signatures import is_signed
from mosaicfs_core.server.auth import basic, signed
from mosaicfs_core.server.auth.revocations import still_holds
from mosaicfs_core.server.auth.tokens import DownloadClaims, SessionClaims
from mosaicfs_core.server.errors import status_of
from mosaicfs_core.server.state import Principal, ServerState, state

API_PREFIX: Final = "/api"
PUBLIC: Final = frozenset(
    {
        "pages.index",
        "pages.asset",
        "pages.docs",
        "openapi",
        "system.health",
        "auth.login",
        "auth.bootstrap",
        "auth.refresh",
    }
)
CLOSED: Final = (API_PREFIX + "/", "/db/")
"""Where nothing is told without a key, not even that there is no such address or that it takes no such method."""
BY_COOKIE: Final = frozenset({"auth.refresh", "auth.logout"})
CONTENT: Final = "files.content"
CLOSED_FOR: Final = 4000
"""Plus the HTTP status: the code with which a refused WebSocket is closed."""
CLOSE_REASON_BYTES: Final = 123


def client_address(asked: Request | Websocket) -> str:
    """The address of the peer as the socket knows it, never as a header claims it."""
    client = asked.scope.get("client")
    return client[0] if client else ""


def from_this_machine(asked: Request | Websocket) -> bool:
    """Whether the peer is this machine: over loopback, or from the very address that it asked, which nobody else can
    have a connection from."""
    address, server = client_address(asked), asked.scope.get("server")
    return is_loopback(address) or bool(address and server and address == server[0])


async def require_key() -> None:
    """Before every request: refuse other sites where cookies count, and identify the caller where it matters."""
    if request.endpoint in BY_COOKIE:
        refuse_other_sites(request)
    if request.endpoint in PUBLIC:
        return
    if request.endpoint is None and not (request.path + "/").startswith(CLOSED):
        return  # an unknown address elsewhere is plainly 404
    g.principal = await identify(state(), request)
    if g.principal.kind == "node" and request.path.startswith(signed.PLACES["node"]):
        # Where a node reads and writes as itself; that it may enrol again is how a copy becomes a node of its own.
        caller = presence.parse(request.headers.get(presence.HEADER, ""))
        await state().links.refuse_double(g.principal.node_id, caller, client_address(request))


async def require_key_of_websocket() -> str | None:
    """Before every WebSocket: identify the caller, and refuse other sites, which browsers let open one anywhere."""
    try:
        refuse_other_sites(websocket)
        g.principal = await identify(state(), websocket)
    except MosaicError as error:
        await refuse_websocket(error)
        return "refused"
    return None


async def refuse_websocket(error: MosaicError) -> None:
    """Close the WebSocket with the reason (4401, 4403, 4429), once it was accepted: a refused handshake can tell none
    to a common client, and Hypercorn reports an error of its own after one."""
    await websocket.accept()
    reason = error.message.encode()[:CLOSE_REASON_BYTES].decode(errors="ignore")
    await websocket.close(CLOSED_FOR + status_of(error), reason)


async def identify(server: ServerState, asked: Request | Websocket) -> Principal:
    """Who is asking; that it was heard of is noted. Raises ``NotSignedIn`` when it cannot be told who that is, and
    ``NotAllowed`` where such a caller has no business."""
    found = await _identified(server, asked)
    if (caller := found.access_key_id or found.node_id) is not None:
        server.sessions.seen.note(caller)
    return found


async def _identified(server: ServerState, asked: Request | Websocket) -> Principal:
    if is_signed(asked.headers.get("Authorization", "")):
        return await signed.identify(server, asked, client_address(asked))
    scheme, _, credentials = asked.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == basic.SCHEME:
        private = asked.scheme == "https" or from_this_machine(asked)
        return await basic.identify(server, asked, credentials.strip(), client_address(asked), private=private)
    if scheme.lower() == "bearer" and credentials:
        return await _bearer(server, credentials.strip(), from_this_machine(asked))
    token = asked.args.get("token")
    if asked.endpoint == CONTENT and token and asked.view_args:
        claims = server.tokens.check_download(token, str(asked.view_args.get("file_id")))
        if claims.access_key_id:
            await _enabled_key(server, claims)
        return Principal(kind="link", name="download link", access_key_id=claims.access_key_id or None)
    raise NotSignedIn("this needs a key: sign in at /api/auth/login, or use the mosaicfs command on the machine itself")


async def _bearer(server: ServerState, token: str, local: bool) -> Principal:
    if hmac.compare_digest(token.encode(), server.local_token.encode()):
        if not local:
            raise NotAllowed("the local token opens this instance only from the machine it runs on")
        return Principal(kind="local", name="owner of this machine's home")
    claims = server.tokens.check_session(token)
    if server.sessions.is_revoked(claims.session):
        raise NotSignedIn("the session was signed out; sign in again")
    kind, name = await _enabled_key(server, claims)
    return Principal(
        kind=kind,
        name=name,
        access_key_id=claims.access_key_id,
        session=claims.session,
        revocations=claims.revocations,
    )


async def _enabled_key(server: ServerState, claims: SessionClaims | DownloadClaims) -> tuple[str, str]:
    document = await server.core.store.get(ids.credential_document_id(claims.access_key_id))
    if document is None or not still_holds(document, claims.revocations):
        raise NotSignedIn("this access key was disabled")
    return document["kind"], document["name"]


def refuse_other_sites(asked: Request | Websocket) -> None:
    """Raise ``NotAllowed`` when a browser says that the request was made by a page of another site."""
    origin = asked.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != asked.headers.get("Host"):
        raise NotAllowed("this request was made by a page of another site")
    if asked.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise NotAllowed("this request was made by a page of another site")
