"""The web application, put together: guard, error shape, description, core routes, and what plugins add."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from quart import Quart, Request
from quart.json.provider import JSONProvider
from werkzeug.exceptions import BadRequest

from mosaicfs_core.documents.standing import why_refused
from mosaicfs_core.errors import PluginError, UserError
from mosaicfs_core.home import INSTANCE_KEY_BYTES, write_private
from mosaicfs_core.lease import SoleLease
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.routes_context import routes_context
from mosaicfs_core.server import background, bodies, errors, idempotency, openapi, security, switches
from mosaicfs_core.server.auth import keys, offline
from mosaicfs_core.server.auth.guard import API_PREFIX, require_key, require_key_of_websocket
from mosaicfs_core.server.auth.sessions import LOCAL_PREFIX, Sessions
from mosaicfs_core.server.auth.tokens import Tokens
from mosaicfs_core.server.couch.bodies import MAX_DOCUMENTS_BYTES
from mosaicfs_core.server.identity import identity_of, verifier
from mosaicfs_core.server.link import methods
from mosaicfs_core.server.link.disabled import cut_disabled
from mosaicfs_core.server.link.links import Links
from mosaicfs_core.server.link.liveness import Liveness
from mosaicfs_core.server.link.relay import Relay
from mosaicfs_core.server.moves import Mover
from mosaicfs_core.server.routes import (
    agents,
    auth,
    credentials,
    db,
    enrolment,
    file_annotations,
    files,
    jobs,
    mounts,
    nodes,
    notifications,
    pages,
    plugins,
    queries,
    system,
    utilization,
)
from mosaicfs_core.server.routes.transfer import transfer_blueprint
from mosaicfs_core.server.state import EXTENSION, ServerState, whoami
from mosaicfs_core.supervision import end_tasks, supervised

_BLUEPRINTS = (
    agents.blueprint,
    auth.blueprint,
    credentials.blueprint,
    db.blueprint,
    enrolment.blueprint,
    file_annotations.blueprint,
    files.blueprint,
    jobs.blueprint,
    mounts.blueprint,
    nodes.blueprint,
    notifications.blueprint,
    pages.blueprint,
    plugins.blueprint,
    queries.blueprint,
    system.blueprint,
    utilization.blueprint,
)


class Json(JSONProvider):
    """msgspec in place of the standard library: faster, and strict about what is not JSON (NaN, lone surrogates)."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """JSON text."""
        return msgspec.json.encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Decode; ``ValueError`` for anything wrong, nesting beyond what the stack takes included."""
        try:
            return msgspec.json.decode(s)
        except RecursionError:
            raise ValueError("too deeply nested") from None


class JsonRequest(Request):
    """A request whose body may be no text at all, which is then the caller's mistake and not ours. Replication may
    send more at a time than the API takes."""

    def __init__(self, method: str, scheme: str, path: str, *given: Any, **bounds: Any) -> None:
        if path.startswith(db.PREFIX + "/"):
            bounds |= {"max_content_length": MAX_DOCUMENTS_BYTES, "body_timeout": security.BATCH_SECONDS}
        super().__init__(method, scheme, path, *given, **bounds)

    async def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """The body; ``BadRequest`` when text is wanted and it is not UTF-8."""
        try:
            return await super().get_data(*args, **kwargs)
        except UnicodeDecodeError:
            raise BadRequest from None

    def on_json_loading_failed(self, error: Exception) -> Any:
        """Say at which byte the body stops being JSON."""
        raise UserError(f"the body cannot be read as JSON: {error}")


async def create_app(core: CoreServices) -> Quart:
    """The application over these services. ``close_app`` gives back what it opened."""
    server = await _server_state(core)
    app = Quart("mosaicfs", static_folder=None)
    app.request_class = JsonRequest
    app.extensions[EXTENSION] = server
    # A redirect to a tidier address would be an HTML page: such an address is plainly another one.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    openapi.install(app)
    app.json = Json(app)
    errors.install(app)
    app.before_request(require_key)
    app.before_websocket(require_key_of_websocket)
    security.install(app)
    for blueprint in (*_BLUEPRINTS, transfer_blueprint(core, server.streams)):
        app.register_blueprint(blueprint)
    owners = _add_plugin_routes(app, core)
    offline.install(app, core, owners)
    switches.install(app, core, owners)
    bodies.install(app)
    idempotency.install(app)
    return app


async def _server_state(core: CoreServices) -> ServerState:
    identity = await identity_of(core)
    # Only a control plane's has to outlive the process: what an agent's own pages are opened with ends with it.
    instance_key = core.home.instance_key() if identity.control_plane else secrets.token_bytes(INSTANCE_KEY_BYTES)
    links = Links(partial(why_refused, core.store.reader.get))
    relay = Relay(links)
    seeding = asyncio.Lock()
    methods.install(links, relay, core, seeding)
    wrapping_key = keys.subkey(instance_key, "credential wrapping")
    local_token = LOCAL_PREFIX + secrets.token_urlsafe(32)
    write_private(core.home.local_token_file, local_token.encode())
    return ServerState(
        core=core,
        tokens=Tokens(instance_key),
        sessions=await Sessions.open(core.home.path / "auth.db"),
        wrapping_key=wrapping_key,
        revocation_key=keys.subkey(instance_key, "revocations"),
        local_token=local_token,
        dummy_hash=await asyncio.to_thread(keys.dummy_hash),
        links=links,
        seeding=seeding,
        liveness=Liveness(
            core.store,
            links.connected,
            core.node_id,
            plane=identity.node_id,
            # Asked anew each time: the lease of a hub is put in place later.
            alone=lambda: isinstance(core.lease, SoleLease),
            leads=lambda: core.lease.held(),
            silent=lambda plane: core.hub is not None and core.hub.silent(plane),
        ),
        relay=relay,
        identity=identity,
        verifier=verifier(core, identity, wrapping_key),
    )


async def close_app(app: Quart) -> None:
    """Stop the work that requests left running and close the sign-in database."""
    server: ServerState = app.extensions[EXTENSION]
    await background.stop(server)
    await server.sessions.close()
    server.streams.close()
    server.live.close()
    server.core.home.local_token_file.unlink(missing_ok=True)


@asynccontextmanager
async def running_app(core: CoreServices) -> AsyncIterator[Quart]:
    """``create_app`` and ``close_app`` around a block, in which labels follow files that move."""
    app = await create_app(core)
    server: ServerState = app.extensions[EXTENSION]
    followed = partial(methods.tell_followed, server.links)
    mover = Mover(core.store, core.node_id, control=core.control, followed=followed, lease=core.lease)

    async def tell_of_moves(_node_id: str) -> None:
        await mover.tell()

    server.links.arrived.append(tell_of_moves)
    work = {"labels of moved files": mover.run, "when keys were used": server.sessions.keep_on}
    if core.control:
        work["who is there"] = server.liveness.run
        work["links of disabled machines"] = partial(cut_disabled, server)
    tasks = [asyncio.create_task(supervised(name, run, core.failing), name=name) for name, run in work.items()]
    try:
        yield app
    finally:
        await end_tasks(*tasks)
        await close_app(app)


def _add_plugin_routes(app: Quart, core: CoreServices) -> dict[str, str]:
    """Mount the plugins' blueprints: first-party ones where they say, others under ``/api/x/{plugin}``. One that cannot
    be mounted is logged and left out; the rest goes on. Returns the plugin of each blueprint, by their names."""
    owners: dict[str, str] = {}
    for plugin in core.host.providers("mosaicfs_routes"):
        try:
            context = routes_context(core, plugin, whoami)
            blueprints = core.host.register(plugin, "mosaicfs_routes", app=app, context=context)
        except PluginError as error:
            core.host.record(error)
            continue
        for blueprint in blueprints:
            prefix = None if plugin.first_party else f"{API_PREFIX}/x/{plugin.name}"
            try:
                app.register_blueprint(blueprint, **({} if prefix is None else {"url_prefix": prefix}))
            except (ValueError, AssertionError, TypeError) as error:
                message = f"plugin {plugin.name}: its routes cannot be served: {error}"
                core.host.record(PluginError(message, plugin.name, "mosaicfs_routes"))
            else:
                owners[blueprint.name] = plugin.name
    return owners
