"""What is checked of a plugin instance before its document is stored: its settings, its folders, its package, and
whether its files would lie among those of another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mosaicfs_core.content.watchable import why_not_watchable
from mosaicfs_core.documents.instances import package_of, settings_of
from mosaicfs_core.errors import Conflict, UserError
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.instances import remembered
from mosaicfs_core.plugins.node_settings import RESERVED
from mosaicfs_core.plugins.node_settings import schema as node_settings_schema
from mosaicfs_core.plugins.prefixes import clashes
from mosaicfs_core.plugins.secrets import sealer
from mosaicfs_core.plugins.settings import SettingsSchema, schema_for
from mosaicfs_core.server.state import state


def checked_settings(
    host: PluginHost, document: Mapping[str, Any], given: Mapping[str, Any], public_key: str | None
) -> dict[str, Any]:
    """What to change of an instance's document to set ``given`` over its settings: ``settings``, and the schema that
    tells its secrets when the package is gone. Secrets are sealed to ``public_key``, its node's.

    They are checked where the package is installed and works; one without a schema takes none. Raises ``UserError``
    whose ``details.fields`` names each wrong field, ``Conflict`` for secrets of a node without a key.
    """
    package = package_of(document)
    stored = document.get("settings") or {}
    merged = {key: value for key, value in {**stored, **given}.items() if value is not None}
    schema = schema_of(host, document)
    merged = schema.unmasked(merged, stored)
    if document["plugin_name"] == RESERVED:
        _refuse_wrong(schema, merged)
        return {"settings": merged}
    plugin = host.plugins.get(package)
    secret = sealer(document["_id"], document["node_id"], public_key)
    if plugin is None or plugin.status != "ok" or plugin.manifest is None:
        return {"settings": schema.sealed(merged, secret)}
    if plugin.manifest.settings_schema is None and merged:
        _refuse(dict.fromkeys(merged, f"unknown setting; {package} has none at all"))
    _refuse_wrong(schema, schema.filled(merged))
    return {"settings": schema.sealed(merged, secret), **remembered(plugin)}


def schema_of(host: PluginHost, document: Mapping[str, Any]) -> SettingsSchema:
    """The schema of an instance's settings, as far as it is known here."""
    if document["plugin_name"] == RESERVED:
        return node_settings_schema()
    return schema_for(host, document)


def _refuse_wrong(schema: SettingsSchema, settings: Mapping[str, Any]) -> None:
    wrong = schema.errors(settings)
    if wrong:
        _refuse({error.field or "(all)": error.message for error in wrong})


def _refuse(fields: Mapping[str, str]) -> NoReturn:
    """Raise what is wrong with settings, by field."""
    summary = "; ".join(f"settings.{field}: {text}" for field, text in fields.items())
    raise UserError(summary, field=f"settings.{next(iter(fields)).removeprefix('(all)')}", fields=dict(fields))


def refuse_shorthand(document: Mapping[str, Any], here: str) -> None:
    """Refuse a watched folder that begins with ``~`` on another node than ``here``: whose home that is, only that
    machine knows."""
    setting = document.get("watches")
    folders = settings_of(document).get(setting) if setting and document["node_id"] != here else None
    for number, folder in enumerate(folders if isinstance(folders, list) else []):
        if isinstance(folder, str) and folder.startswith("~"):
            field = f"settings.{setting}.{number}"
            raise UserError(f"{field}: {folder!r} is a place on another machine: give its whole path", field=field)


def type_warnings(plugin_type: str, package: str) -> list[str]:
    """What the user should know of what a new instance is to run."""
    if plugin_type == "package":
        return package_warnings(package)
    if plugin_type in state().core.host.kinds():
        return []
    return [f"no plugin installed on this machine runs plugins of the type {plugin_type}"]


def package_warnings(package: str) -> list[str]:
    """What the user should know of the package an instance names."""
    plugin = state().core.host.plugins.get(package)
    if plugin is None:
        return [f"no plugin {package} is installed on this machine; its settings cannot be checked"]
    if plugin.status != "ok":
        return [f"{package} cannot run: {plugin.error}"]
    if plugin.restart is not None:
        return [f"{package}: {plugin.restart}"]
    if plugin.manifest is not None and not plugin.manifest.available:
        raise UserError(f"{package} is announced and not available in this release", field="package")
    return []


def refuse_clash(host: PluginHost, known: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> None:
    """Raise ``Conflict`` when a new or changed instance, beside those of its node that are ``known``, puts the files of
    one among those of another."""
    others = [other for other in known if other["plugin_name"] != document["plugin_name"]]
    before, after = (clashes(instances, host.manifest_of) for instances in (known, [*others, document]))
    for name, reason in after.items():
        if name not in before:
            raise Conflict(reason)


async def refuse_unwatchable(document: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ``UserError`` when ``given`` are settings that add a folder which this machine cannot index; folders that
    the instance has already may be missing for a while, and other machines know their own."""
    core = state().core
    manifest = core.host.manifest_of(package_of(document))
    setting = document.get("watches") or (manifest.watches if manifest is not None else None)
    folders = given.get(setting) if setting and document["node_id"] == core.node_id else None
    stored = settings_of(document).get(setting) if setting else None
    present = stored if isinstance(stored, list) else []
    for number, folder in enumerate(folders if isinstance(folders, list) else []):
        if isinstance(folder, str) and folder not in present:
            problem = await asyncio.to_thread(why_not_watchable, folder, core.home)
            if problem is not None:
                field = f"settings.{setting}.{number}"
                raise UserError(f"{field}: {problem}", field=field)
