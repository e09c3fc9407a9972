"""What the routes of pins take and answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mosaicfs_plugins.pins.settings import MAX_NAME

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="What the pin is called.")]
NodeId = Annotated[str, Meta(min_length=1, max_length=200, description="A node.")]
Directory = Annotated[str, Meta(pattern="^/", max_length=8192, description="The path of a virtual directory.")]
Result = Literal["include", "exclude"]


class PinFilter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which pins to list: of a name, on a node."""

    name: Name | None = None
    node_id: NodeId | None = None
    limit: Annotated[int, Meta(ge=1, le=500, description="At most this many items.")] = 100
    offset: Annotated[int, Meta(ge=0, lt=2**31, description="Skip this many items.")] = 0


class PinTarget(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One pin: by its name, on all its nodes or on one."""

    name: Name
    node_id: NodeId | None = None


class PinChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A pin: the files that ``directory`` shows at any depth, those that pass ``steps``, or those that do both. It is
    on exactly ``nodes``."""

    name: Name
    nodes: Annotated[list[NodeId], Meta(min_length=1, max_length=500)]
    directory: Directory | None = None
    steps: Annotated[list[dict[str, Any]], Meta(max_length=100)] | None = None
    default_result: Result = "include"


class Failure(msgspec.Struct, kw_only=True):
    """A file that is not there yet, and why."""

    node_id: str
    export_path: str
    reason: str


class Progress(msgspec.Struct, kw_only=True):
    """How far a node is with a pin, as it said last.

    ``state`` is ``unknown`` (it has not said), ``off`` (its instance is switched off), ``looking`` (for the files),
    ``fetching``, ``waiting`` (for an owner that does not answer), ``complete``, ``failed`` (some cannot be had) or
    ``no_room`` (``bytes_without_room`` too many). ``failures`` names up to twenty files.
    """

    node_id: str
    node_name: str
    state: str
    updated_at: str | None = None
    files_wanted: int = 0
    files_present: int = 0
    files_fetching: int = 0
    files_failed: int = 0
    files_without_room: int = 0
    bytes_wanted: int = 0
    bytes_present: int = 0
    bytes_without_room: int = 0
    failures: list[Failure] = []
    warnings: list[str] = []


class PinAnswer(msgspec.Struct, kw_only=True):
    """A pin and how far its nodes are. ``warnings`` say what is odd with it."""

    name: str
    directory: str | None
    steps: list[dict[str, Any]]
    default_result: str
    nodes: list[Progress]
    warnings: list[str] = []


class PinsAnswer(msgspec.Struct, kw_only=True):
    """A slice of the pins, by name."""

    items: list[PinAnswer]
    total: int
    offset: int
    limit: int


class RemovedAnswer(msgspec.Struct, kw_only=True):
    """The pin is gone from these nodes; its files there may give way to others from now on."""

    removed: str
    nodes: list[str]
