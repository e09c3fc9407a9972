"""``mosaicfs plugin limits``: how much an instance may do, how long, how often, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli.plugin_instances import instance_path, node_option, tell
from mosaicfs_core.similar import similar

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

_COLUMNS: Final = {"limit": "limit", "value": "value", "title": "what it is"}
_OF_INSTANCE: Final[Mapping[str, Mapping[str, Any]]] = {
    "timeout_s": {"type": "number", "title": "seconds that one event or crawl step may take (60)"},
    "workers": {"type": "integer", "title": "events that it is given at once (what the plugin says)"},
    "max_attempts": {"type": "integer", "title": "attempts before an event has failed for good (3)"},
    "poll_interval_s": {"type": "number", "title": "seconds between crawls (what the plugin says)"},
    "health_check_interval_s": {"type": "number", "title": "seconds between looks how it is (what the plugin says)"},
}
"""By name: what is a field of the instance. In brackets what holds when it is not set."""
_OF_BUDGET: Final[Mapping[str, Mapping[str, Any]]] = {
    "hours": {"type": "array", "items": {"type": "string"}, "title": "hours of the day, 22:00-06:00 (all)"},
    "per_minute": {"type": "number", "title": "events a minute (any number)"},
    "jobs_per_day": {"type": "integer", "title": "events a day (any number)"},
    "bytes_per_day": {"type": "integer", "title": "bytes of files a day (any number)"},
}
"""The same of what is part of its ``budget``."""
_SCHEMA: Final = {"properties": {**_OF_INSTANCE, **_OF_BUDGET}}


def register(group: click.Group, context: TerminalContext) -> None:
    """Add the command to the group ``plugin``."""

    @group.command("limits")
    @click.argument("name")
    @click.argument("assignments", nargs=-1, metavar="[LIMIT=VALUE]...")
    @click.option("--unset", multiple=True, metavar="LIMIT", help="Back to what it is by default (repeatable).")
    @node_option
    def limits(name: str, assignments: tuple[str, ...], unset: tuple[str, ...], node: str | None) -> None:
        """Show how much the instance NAME may do, how long, how often and when, or set that: LIMIT to VALUE.

        It takes effect at once. `hours` may be given several times: mosaicfs plugin limits NAME timeout_s=120
        hours=22:00-06:00 hours=12:00-13:00
        """
        where = instance_path(context, name, node)
        present, etag = context.api.get_with_etag(where)
        if not assignments and not unset:
            rows = _rows(present)
            context.show({row["limit"]: row["value"] for row in rows} if context.json else rows, _COLUMNS)
            return
        changes = changes_of(name, present.get("budget") or {}, assignments, unset)
        # The budget is written whole: nobody's other change of it meanwhile may get lost.
        tell(context, context.api.send("PATCH", where, changes, if_match=etag), f"{name} is limited so from now on")


def changes_of(
    name: str, budget: Mapping[str, Any], assignments: Iterable[str], unset: Iterable[str]
) -> dict[str, Any]:
    """The body of the change: None takes a limit away. ``budget`` is the instance's as it is. Raises ``UserError``
    naming the limit."""
    from mosaicfs_core.cli.plugin_values import value_of
    from mosaicfs_core.errors import UserError

    given: dict[str, list[str]] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        _check(name, key)
        if not equals or not text:
            raise UserError(f"{key}: no value was given; --unset {key} takes the limit away", field=key)
        given.setdefault(key, []).append(text)
    for key in unset:
        _check(name, key)
    values = {key: value_of(_SCHEMA, key, texts) for key, texts in given.items()} | dict.fromkeys(unset)
    changes = {key: value for key, value in values.items() if key in _OF_INSTANCE}
    if part := {key: value for key, value in values.items() if key in _OF_BUDGET}:
        merged = {key: value for key, value in {**budget, **part}.items() if value is not None}
        changes["budget"] = merged or None
    return changes


def _check(name: str, key: str) -> None:
    from mosaicfs_core.errors import UserError

    known = _SCHEMA["properties"]
    if key not in known:
        near = similar(key, known)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise UserError(f"{name} has no limit {key!r}; {hint}", field=key)


def _rows(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = {**instance, **(instance.get("budget") or {})}
    return [
        {"limit": key, "value": values.get(key), "title": part["title"]} for key, part in _SCHEMA["properties"].items()
    ]
