"""Plugins in other processes: the messages between them and the host, and either side of a connection.

``Channel`` is the host's side, ``serve`` the plugin's; ``messages.schemas`` has the JSON Schema of every message, for
plugins in other languages.
"""

from mosaicfs_core.hooks.wire.channel import Channel
from mosaicfs_core.hooks.wire.greeting import WINDOW, WORKERS, hello_of
from mosaicfs_core.hooks.wire.lines import LINE_LIMIT, BrokenWire, Lines, connect
from mosaicfs_core.hooks.wire.messages import REQUESTS, Envelope, HostHello, PluginHello, schemas
from mosaicfs_core.hooks.wire.payloads import crawl_payload, event_envelope, operation_body, operation_of
from mosaicfs_core.hooks.wire.serving import Served, serve
from mosaicfs_core.hooks.wire.told import ANNOTATION_LIMIT

__all__ = [
    "ANNOTATION_LIMIT",
    "LINE_LIMIT",
    "REQUESTS",
    "WINDOW",
    "WORKERS",
    "BrokenWire",
    "Channel",
    "Envelope",
    "HostHello",
    "Lines",
    "PluginHello",
    "Served",
    "connect",
    "crawl_payload",
    "event_envelope",
    "hello_of",
    "operation_body",
    "operation_of",
    "schemas",
    "serve",
]
