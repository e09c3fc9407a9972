"""The messages between the host and a plugin in another process: one JSON object a line, each with a JSON Schema.

From the host:

* ``{"hello": {…}}`` first, ``{"config": {…}, "workers": 2, "timeout_s": 60}`` whenever the settings or limits change;
* events: ``{"event": "file.added", "sequence": 7, "timestamp", "node_id", "payload": {…}}``, answered by an ``ack``;
* requests: the same with ``request_id`` in place of ``sequence`` and ``event`` one of ``REQUESTS``, answered by
  ``result``, ``error`` or (a crawl) any number of ``files`` and ``done``; ``{"cancel": 9}`` takes one back;
* ``{"reply_to": 3, "result": …}`` and the like answer what the plugin calls; ``{"reply_to": 3, "item": …}`` is a part.

From the plugin:

* ``{"hello": {…}}`` (optional), ``{"ack": 7}`` with ``annotation`` or ``error``, ``{"request_id": 9, …}`` answers;
* ``{"call": "find_files", "id": 3, "params": {…}}`` asks the host, ``{"stop": 3}`` takes that back; an answer that
  comes in parts goes on with one ``{"more": 3}`` for each part that was taken;
* ``{"notification": {"key", "severity", "title", "message"?}}`` of its own accord.

Fields that one side does not know are passed over, so that either can be newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from mosaicfs_core.hooks.health import Notice
from mosaicfs_core.hooks.wire.lines import BrokenWire

T = TypeVar("T")
Part: TypeAlias = msgspec.Raw | msgspec.UnsetType
"""A part that is decoded when it is known what it should be."""
REQUESTS: Final[Mapping[str, str]] = {
    "query": "mosaicfs_query",
    "health_check": "mosaicfs_health",
    "crawl_requested": "mosaicfs_crawl",
    "watch": "mosaicfs_watch",
    "run": "mosaicfs_run",
}
"""Requests by the hook that they are."""


class HostHello(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a plugin learns first. Paths are text; ``window`` is how many events may be unacknowledged."""

    hook_api: int
    node_id: str
    instance: str
    package: str
    config: Mapping[str, Any] = {}
    window: int = 64
    workers: int = 2
    timeout_s: float = 60
    state_dir: str = ""
    files_dir: str = ""
    prefix: str = ""
    excluded: tuple[str, ...] = ()


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event or a request. Exactly one of ``sequence`` and ``request_id`` is there over a socket; a program that is
    run for one event gets neither ``request_id`` nor an answer to wait for, and ``config`` besides."""

    event: str
    timestamp: str
    node_id: str
    payload: Mapping[str, Any] = {}
    sequence: int | None = None
    request_id: int | None = None
    config: Mapping[str, Any] | None = None


class ToldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it travels; ``code`` is one of ``mosaicfs_core.errors``."""

    message: str
    code: str = "error"


class FromHost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any message from the host."""

    hello: HostHello | None = None
    config: Mapping[str, Any] | None = None
    workers: int | None = None
    timeout_s: float | None = None
    event: str | None = None
    timestamp: str = ""
    node_id: str = ""
    payload: Mapping[str, Any] = {}
    sequence: int | None = None
    request_id: int | None = None
    cancel: int | None = None
    reply_to: int | None = None
    result: Part = msgspec.UNSET
    item: Part = msgspec.UNSET
    error: ToldError | None = None


class PluginHello(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a plugin may say of itself. ``answers`` are the requests (names of ``REQUESTS``) that it knows; without a
    hello the instance's document tells. One whose ``hook_api`` is newer than the host's is disconnected."""

    hook_api: int
    name: str = ""
    version: str = ""
    answers: tuple[str, ...] = ()


class FromPlugin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any message from a plugin."""

    hello: PluginHello | None = None
    ack: int | None = None
    annotation: Part = msgspec.UNSET
    error: str | ToldError | None = None
    request_id: int | None = None
    result: Part = msgspec.UNSET
    files: tuple[msgspec.Raw, ...] | None = None
    done: bool = False
    call: str | None = None
    id: int | None = None
    params: Mapping[str, msgspec.Raw] = {}
    stop: int | None = None
    more: int | None = None
    notification: Notice | None = None


_from_host: Final = msgspec.json.Decoder(FromHost)
_from_plugin: Final = msgspec.json.Decoder(FromPlugin)


def from_host(line: bytes) -> FromHost:
    """What the host says. Raises ``BrokenWire``."""
    return _decoded(_from_host, line)


def from_plugin(line: bytes) -> FromPlugin:
    """What a plugin says. Raises ``BrokenWire``."""
    return _decoded(_from_plugin, line)


def schemas() -> dict[str, Any]:
    """JSON Schemas of the messages by name, for plugins in other languages."""
    kinds = (HostHello, Envelope, FromHost, PluginHello, FromPlugin)
    named, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}", schema_hook=_anything)
    return {kind.__name__: definitions[kind.__name__] for kind, _ in zip(kinds, named, strict=True)} | {
        "$defs": definitions
    }


def _anything(kind: type) -> dict[str, Any]:
    """The schema of a part that is decoded later: any JSON."""
    return {}


def _decoded(decoder: msgspec.json.Decoder[T], line: bytes) -> T:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        shown = line[:80].decode("utf-8", "replace").strip()
        raise BrokenWire(f"a line is no message of the protocol ({error}): {shown}") from None
