"""What may be said of an instance of a plugin from outside: by its owner in a request, by its machine that brings it
back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.documents.types import QueryEndpoint
from mosaicfs_core.hooks import EventName

InstanceName = Annotated[str, Meta(pattern=f"^{ids.INSTANCE_PATTERN}{END}")]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]


class InstanceChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of an instance. ``settings`` are merged key by key; null takes a key away, and a limit, so that
    what is so by default holds again."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    paused: bool | UnsetType = UNSET
    settings: dict[str, Any] | UnsetType = UNSET
    poll_interval_s: Seconds | UnsetType | None = UNSET
    subscribed_events: list[EventName] | UnsetType = UNSET
    mime_globs: list[Annotated[str, Meta(min_length=1, max_length=200)]] | UnsetType = UNSET
    steps: list[dict[str, Any]] | UnsetType = UNSET
    budget: dict[str, Any] | UnsetType | None = UNSET
    workers: Annotated[int, Meta(ge=1, le=64)] | UnsetType | None = UNSET
    timeout_s: Seconds | UnsetType | None = UNSET
    max_attempts: Annotated[int, Meta(ge=1, le=100)] | UnsetType | None = UNSET
    health_check_interval_s: Seconds | UnsetType | None = UNSET
    scope: Literal["node", "instance"] | UnsetType = UNSET
    query_endpoints: list[QueryEndpoint] | UnsetType = UNSET
    isolate: bool | UnsetType | None = UNSET


class NewInstance(InstanceChange, kw_only=True, forbid_unknown_fields=True):
    """An instance to make: its own name, and the package or program it runs (by default the one of that name).
    ``plugin_type`` is ``package``, or ``executable`` or ``socket`` for a program on that node, whose
    ``subscribed_events``, ``query_endpoints`` and ``provides_filesystem`` say what it is asked for."""

    plugin_name: InstanceName
    package: InstanceName | None = None
    plugin_type: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}" + END)] = "package"
    provides_filesystem: bool = False


def changes_of(data: InstanceChange) -> dict[str, Any]:
    """The fields that were given."""
    given = {field: getattr(data, field) for field in InstanceChange.__struct_fields__}
    return {field: msgspec.to_builtins(value) for field, value in given.items() if value is not UNSET}
