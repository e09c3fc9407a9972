"""``mosaicfs plugin settings|set``: what an instance can be told, and telling it.

Secrets never come from an argument, where every user of the machine could read them: the name of a setting alone makes
the command ask for its value, or read a line of standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli.plugin_instances import installed_type, node_id_of, node_option, tell

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

_COLUMNS: Final = {"setting": "setting", "value": "value", "title": "what it is"}
_LONGEST: Final = 1 << 20


def register(group: click.Group, context: TerminalContext) -> None:
    """Add the commands to the group ``plugin``."""
    _add_settings(group, context)
    _add_set(group, context)


def _add_settings(group: click.Group, context: TerminalContext) -> None:
    @group.command("settings")
    @click.argument("name")
    @node_option
    def settings(name: str, node: str | None) -> None:
        """Show what the instance NAME can be told, and what it is set to; a secret only tells whether it is set.

        NAME is `agent` for the settings of the machine itself."""
        from mosaicfs_core.cli.plugin_values import shown_rows

        instance = _instance(context, name, node_id_of(context, node))
        rows = shown_rows(instance["settings_schema"], instance["settings"])
        context.show(rows, _COLUMNS, empty=f"{name} has no settings.")


def _add_set(group: click.Group, context: TerminalContext) -> None:
    @group.command("set")
    @click.argument("name")
    @click.argument("assignments", nargs=-1, metavar="[KEY=VALUE | KEY]...")
    @click.option("--unset", multiple=True, metavar="KEY", help="Back to what it is by default (repeatable).")
    @node_option
    def set_settings(name: str, assignments: tuple[str, ...], unset: tuple[str, ...], node: str | None) -> None:
        """Set KEY of the instance NAME to VALUE; `plugin settings` shows what there is. It takes effect at once.

        KEY alone asks for the value without showing what is typed, or reads a line of standard input: so secrets are
        set. A list is given by naming its KEY several times, or as JSON, as other values that are no text are. An
        instance that is not there yet is made, switched off. NAME is `agent` for the settings of the machine itself.
        """
        from mosaicfs_core.errors import UserError

        if not assignments and not unset:
            raise UserError(f"nothing to set: give KEY=VALUE; `mosaicfs plugin settings {name}` shows what there is")
        node_id = node_id_of(context, node)
        instance = _instance(context, name, node_id)
        changes = _changes(name, instance, assignments, unset)
        answer = _write(context, name, node_id, instance, changes)
        off = "" if answer.get("enabled", True) else f"; `mosaicfs plugin enable {name}` switches it on"
        tell(context, answer, f"{name} is set{off}")


def _instance(context: TerminalContext, name: str, node_id: str) -> dict[str, Any]:
    """An instance with its schema (None: not known); where there is none, what one of the package would be, without
    ``id``. Raises ``NotFound`` when there is no such package either."""
    from mosaicfs_core.errors import NotFound

    try:
        found: dict[str, Any] = context.api.get(f"nodes/{node_id}/plugins/{name}")
    except NotFound:
        found = {"plugin_type": installed_type(context, node_id, name)}
    if found.get("settings_schema") is None:
        package = found.get("package") or name
        installed = context.api.get("plugins", limit=500)["items"]
        found["settings_schema"] = next((_schema_of(one) for one in installed if one["name"] == package), None)
    return {"settings": {}, **found}


def _schema_of(package: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of an installed package's settings: one that works and tells none has none."""
    schema: Mapping[str, Any] | None = package.get("settings_schema")
    return {} if schema is None and package.get("status") == "ok" else schema


def _changes(
    name: str, instance: Mapping[str, Any], assignments: Iterable[str], unset: Iterable[str]
) -> dict[str, Any]:
    """What to send: a value for each key, None for those to unset. Raises ``UserError`` naming the key."""
    from mosaicfs_core.cli.plugin_values import asked_value, check_key, check_open, value_of

    schema = instance["settings_schema"]
    given: dict[str, list[str]] = {}
    asked: list[str] = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        check_key(name, schema, key)
        if equals:
            check_open(name, schema, key)
            given.setdefault(key, []).append(text)
        else:
            asked.append(key)
    for key in unset:
        if key not in instance["settings"]:  # what is set may go, also when nobody knows it
            check_key(name, schema, key)
    values = {key: value_of(schema, key, texts) for key, texts in given.items()}
    return values | {key: asked_value(schema, key, _asked(key)) for key in asked} | dict.fromkeys(unset)


def _asked(key: str) -> str:
    """A value from the terminal, unseen, or from the next line of standard input."""
    from mosaicfs_core.errors import UserError

    if sys.stdin.isatty():
        import getpass

        text = getpass.getpass(f"{key}: ")
    else:
        text = sys.stdin.readline(_LONGEST).rstrip("\r\n")
    if not text:
        raise UserError(f"{key}: no value was given; --unset {key} takes it away", field=f"settings.{key}")
    return text


def _write(
    context: TerminalContext, name: str, node_id: str, instance: Mapping[str, Any], changes: dict[str, Any]
) -> dict[str, Any]:
    from mosaicfs_core.errors import UserError

    where = f"nodes/{node_id}/plugins"
    try:
        if "id" in instance:
            changed: dict[str, Any] = context.api.send("PATCH", f"{where}/{name}", {"settings": changes})
            return changed
        body = {"plugin_name": name, "plugin_type": instance["plugin_type"], "enabled": False}
        given = {key: value for key, value in changes.items() if value is not None}
        made: dict[str, Any] = context.api.send("POST", where, {**body, "settings": given})
        return made
    except UserError as error:
        hint = f"`mosaicfs plugin settings {name}` shows what can be set"
        raise UserError(f"{error.message}; {hint}", **error.details) from None
