"""What is installed (``/api/plugins``) and its instances on a node (``/api/nodes/{id}/plugins``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.instances import instance_document, package_of
from mosaicfs_core.errors import Conflict, NotFound, UserError
from mosaicfs_core.hooks import etag_of
from mosaicfs_core.plugins.instances import provided_filesystem
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.plugins.node_settings import RESERVED, SCHEMA, empty_document
from mosaicfs_core.plugins.prefixes import tombstone_of
from mosaicfs_core.plugins.running.installed import rescan
from mosaicfs_core.plugins.schema_shape import translate
from mosaicfs_core.server.instance_checks import (
    checked_settings,
    package_warnings,
    refuse_clash,
    refuse_shorthand,
    refuse_unwatchable,
    schema_of,
    type_warnings,
)
from mosaicfs_core.server.instance_fields import InstanceChange, NewInstance, changes_of
from mosaicfs_core.server.listing import (
    ListAnswer,
    Paging,
    document_answer,
    json_answer,
    page_of,
    shown,
)
from mosaicfs_core.server.plugin_work import check_work
from mosaicfs_core.server.routes.nodes import ask_node, get_node_document
from mosaicfs_core.server.state import state
from mosaicfs_core.server.stored import documents_of, replace
from mosaicfs_core.similar import similar

blueprint = Blueprint("plugins", __name__, url_prefix="/api")

_UNWRITTEN: Final = "0-unwritten"


class PluginAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An installed package: working, failed (with the reason) or disabled. ``restart`` says what takes effect only once
    MosaicFS is started anew."""

    name: str
    status: str
    distribution: str
    version: str
    first_party: bool
    title: str | None = None
    description: str | None = None
    available: bool = False
    hooks: list[str] = []
    settings_schema: dict[str, Any] | None = None
    watches: str | None = None
    error: str | None = None
    restart: str | None = None


class InstalledAnswer(msgspec.Struct, kw_only=True):
    """What can run on a node, packages and programs (which have a ``type``), with the reason for what cannot, and
    which packages are others than at the last look."""

    items: list[dict[str, Any]]
    changed: list[str]


class InstanceAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An instance of a plugin on a node. Secrets in ``settings`` read ``{"set": true}``, as does
    every text where no schema tells them. ``answers`` are the capabilities that its package answers."""

    id: str
    node_id: str
    plugin_name: str
    name: str
    enabled: bool
    created_at: str
    package: str | None = None
    plugin_type: str | None = None
    paused: bool | None = None
    subscribed_events: list[str] = []
    mime_globs: list[str] = []
    steps: list[dict[str, Any]] | None = None
    budget: dict[str, Any] | None = None
    workers: int | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    health_check_interval_s: float | None = None
    poll_interval_s: float | None = None
    scope: str | None = None
    query_endpoints: list[dict[str, Any]] = []
    isolate: bool | None = None
    provides_filesystem: bool | None = None
    file_path_prefix: str | None = None
    settings: dict[str, Any] = {}
    settings_schema: dict[str, Any] | None = None
    watches: str | None = None
    answers: list[str] = []
    config: dict[str, Any] = {}
    warnings: list[str] = []


class RemovedAnswer(msgspec.Struct, kw_only=True):
    """The instance is gone; its node clears up after it."""

    removed: str


def plugin_body(plugin: LoadedPlugin) -> PluginAnswer:
    """An installed package as the API shows it; never its traceback."""
    manifest = plugin.manifest
    return PluginAnswer(
        name=plugin.name,
        status=plugin.status,
        distribution=plugin.distribution,
        version=manifest.version if manifest else plugin.distribution_version,
        first_party=plugin.first_party,
        title=manifest.title if manifest else None,
        description=manifest.description if manifest else None,
        available=bool(manifest and manifest.available and plugin.status == "ok"),
        hooks=sorted(plugin.hooks),
        settings_schema=dict(manifest.settings_schema) if manifest and manifest.settings_schema else None,
        watches=manifest.watches if manifest else None,
        error=plugin.error,
        restart=plugin.restart,
    )


def instance_body(document: Mapping[str, Any], warnings: list[str] | None = None) -> dict[str, Any]:
    """An instance as the API shows it, secrets masked."""
    body = shown(document, document["plugin_name"])
    host = state().core.host
    for part in ("settings", "config"):
        body[part] = schema_of(host, document).masked(body[part]) if body.get(part) else {}
    if document["plugin_name"] == RESERVED:
        body["settings_schema"] = translate(SCHEMA)
    if warnings:
        body["warnings"] = warnings
    return body


@blueprint.get("/plugins")
@validate_querystring(Paging)
@document_response(ListAnswer)
async def list_installed(query_args: Paging) -> Response:
    """List the installed plugins with their manifests, failed ones with the reason."""
    found = [msgspec.to_builtins(plugin_body(plugin)) for plugin in state().core.host.plugins.values()]
    return json_answer(page_of(found, query_args))


@blueprint.post("/nodes/<node_id>/rescan")
@document_response(InstalledAnswer)
async def rescan_plugins(node_id: str) -> Response:
    """Look again at which plugins are installed on a node, and use what has come since it started: a package is loaded,
    and works like one that was there at the start but for what its ``restart`` names."""
    await get_node_document(node_id)
    server = state()
    found = await rescan(server.core)  # wherever it is, its settings are checked by what is installed here
    if node_id in (server.core.node_id, server.identity.node_id):
        return json_answer(found)
    return json_answer(await ask_node(node_id, "rescan", {}))


@blueprint.get("/nodes/<node_id>/plugins")
@validate_querystring(Paging)
@document_response(ListAnswer)
async def list_instances(node_id: str, query_args: Paging) -> Response:
    """List the plugin instances of a node. ``agent`` holds the settings of the node itself, and is always there."""
    await get_node_document(node_id)
    documents = await documents_of(state().core.store, "plugin", node_id)
    if not any(document["plugin_name"] == RESERVED for document in documents):
        documents.append(_nothing_set(node_id))
    found = [instance_body(document) for document in documents]
    return json_answer(page_of(found, query_args))


@blueprint.post("/nodes/<node_id>/plugins")
@validate_request(NewInstance)
@document_response(InstanceAnswer, 201)
async def create_instance(node_id: str, data: NewInstance) -> Response:
    """Make an instance of a plugin on a node."""
    await get_node_document(node_id)
    if RESERVED in (data.plugin_name, data.package):
        raise UserError(f"{RESERVED} is the name of the node's own settings: change those", field="plugin_name")
    package = data.package or data.plugin_name
    changes, host = changes_of(data), state().core.host
    warnings = type_warnings(data.plugin_type, package) + await asyncio.to_thread(check_work, changes, host.step_ops())
    document = instance_document(node_id, data.plugin_name, package=package, created_at=times.now_text())
    document |= {field: value for field, value in changes.items() if field != "settings" and value is not None}
    document["plugin_type"] = data.plugin_type
    if data.plugin_type != "package" and data.provides_filesystem:
        document |= {"provides_filesystem": True, "file_path_prefix": f"/{data.plugin_name}"}
    elif data.plugin_type == "package" and package in host.plugins:
        document |= provided_filesystem(data.plugin_name, host.plugins[package])
    settings = checked_settings(host, document, changes.get("settings", {}), await _public_key(node_id))
    await refuse_unwatchable(document, settings["settings"])
    document |= settings
    others = await documents_of(state().core.store, "plugin", node_id)

    refuse_shorthand(document, state().core.node_id)

    def insert(present: dict[str, Any] | None) -> dict[str, Any]:
        if present is not None:
            raise Conflict(f"this node has an instance {data.plugin_name} already")
        refuse_clash(host, others, document)
        return document

    written = await state().core.store.update(document["_id"], insert) or document
    return json_answer(instance_body(written, warnings), 201, {"ETag": etag_of(written)})


@blueprint.get("/nodes/<node_id>/plugins/<name>")
@document_response(InstanceAnswer)
async def get_instance(node_id: str, name: str) -> Response:
    """Show one instance."""
    document = await _instance_document(node_id, name)
    return document_answer(document, instance_body(document))


@blueprint.patch("/nodes/<node_id>/plugins/<name>")
@validate_request(InstanceChange)
@document_response(InstanceAnswer)
async def change_instance(node_id: str, name: str, data: InstanceChange) -> Response:
    """Change an instance: switch it, pause its work, set its settings or its interval. It takes effect at once, on
    another node as soon as the change has reached it; the routes of a plugin whose instances here are all switched off
    answer 404. The settings of a node itself are those of the instance ``agent``."""
    changes = changes_of(data)
    host = state().core.host
    if name == RESERVED and changes.keys() - {"settings"}:
        raise UserError("only its settings can be changed", field=sorted(changes.keys() - {"settings"})[0])
    here, key = state().core.node_id, await _public_key(node_id) if "settings" in changes else None
    known = await documents_of(state().core.store, "plugin", node_id)
    for document in known:
        if document["plugin_name"] == name and "settings" in changes:
            settings = checked_settings(host, document, changes["settings"], key)
            refuse_clash(host, known, {**document, **changes, **settings})
            await refuse_unwatchable(document, changes["settings"])
    warnings = await asyncio.to_thread(check_work, changes, host.step_ops())
    if changes.get("enabled") and node_id == state().core.node_id:
        named = [one for one in known if one["plugin_name"] == name]
        packages = [package_of(one) for one in named if one.get("plugin_type", "package") == "package"]
        warnings += [text for package in packages for text in package_warnings(package)]

    def apply(document: dict[str, Any]) -> dict[str, Any]:
        settings = checked_settings(host, document, changes["settings"], key) if "settings" in changes else {}
        merged = {**document, **changes, **settings}
        changed = {field: value for field, value in merged.items() if changes.get(field, ...) is not None}
        refuse_shorthand(changed, here)
        refuse_clash(host, known, changed)
        return changed

    absent: dict[str, Any] | None = None
    if name == RESERVED:
        await get_node_document(node_id)
        absent = {**_nothing_set(node_id), "created_at": times.format_time(times.now_micros())}
    missing = _missing(node_id, name, known)
    document = await replace(state().core.store, ids.plugin_document_id(node_id, name), apply, missing, absent=absent)
    return document_answer(document, instance_body(document, warnings))


@blueprint.delete("/nodes/<node_id>/plugins/<name>")
@document_response(RemovedAnswer)
async def remove_instance(node_id: str, name: str) -> Response:
    """Remove an instance from a node, with what it indexed, provided and kept there. A default one does not come back
    by itself; without ``agent`` the node goes by its own configuration file."""
    await _instance_document(node_id, name)

    host = state().core.host

    def bury(document: dict[str, Any]) -> dict[str, Any]:
        return tombstone_of(document, host.manifest_of(package_of(document)))

    missing = _missing(node_id, name, await documents_of(state().core.store, "plugin", node_id))
    await replace(state().core.store, ids.plugin_document_id(node_id, name), bury, missing)
    return json_answer(RemovedAnswer(removed=name))


async def _public_key(node_id: str) -> str | None:
    """The key that a node's secrets are sealed to, None while it has told none. This machine's is at hand."""
    server = state()
    if node_id in (server.core.node_id, server.identity.node_id):
        return server.identity.key.public
    node = await server.core.store.get(ids.node_document_id(node_id))
    return None if node is None else node.get("public_key")


async def _instance_document(node_id: str, name: str) -> Mapping[str, Any]:
    await get_node_document(node_id)
    document = await state().core.store.get(ids.plugin_document_id(node_id, name))
    if document is None and name == RESERVED:
        return _nothing_set(node_id)
    if document is None:
        raise NotFound(_missing(node_id, name, await documents_of(state().core.store, "plugin", node_id)))
    return document


def _missing(node_id: str, name: str, known: Sequence[Mapping[str, Any]]) -> str:
    """That a node has no instance of this name, and what there is instead: of ``known``, its instances' documents."""
    core = state().core
    if node_id == core.node_id and name in core.host.plugins:
        return (
            f"{name} is installed on {node_id} and has no instance there: `mosaicfs plugin enable {name}` makes one, "
            "and `[agent] disabled_plugins` in mosaicfs.toml leaves a plugin out altogether"
        )
    names = sorted(str(document["plugin_name"]) for document in known if document["plugin_name"] != RESERVED)
    near = similar(name, names)
    instead = (
        f"did you mean {near[0]}?" if near else f"its instances are {', '.join(names)}" if names else "it has none"
    )
    return f"{node_id} has no plugin instance {name}; {instead}"


def _nothing_set(node_id: str) -> dict[str, Any]:
    """The node's own settings before the first one was made; its version is one that no stored document has."""
    return {**empty_document(node_id), "_rev": _UNWRITTEN}
