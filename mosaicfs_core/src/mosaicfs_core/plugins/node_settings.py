"""The settings of a node that are no plugin's: those of the reserved instance ``agent``, over the configuration file.

They stand in the document ``plugin::{node_id}::agent``, which the control plane owns, and take effect on the node when
the document arrives. A node without that document, or a key that it does not set, goes by the node's own file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from mosaicfs_core.config import LEVELS, Config
from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.instances import instance_document, settings_of
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.plugins.settings import FieldError, SettingsSchema
from mosaicfs_core.store import Store

logger = logging.getLogger(__name__)

RESERVED: Final = "agent"
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "cache_max_bytes": {
            "type": "integer",
            "title": "Size of the cache",
            "description": "Bytes that copies of other machines' files may take.",
            "minimum": 0,
            "maximum": 2**53 - 1,
        },
        "cache_min_free_bytes": {
            "type": "integer",
            "title": "Space that stays free",
            "description": "The cache gives way before the disk has fewer bytes free than this.",
            "minimum": 0,
            "maximum": 2**53 - 1,
        },
        "snapshot_days": {
            "type": "integer",
            "title": "History",
            "description": "Days for which the hourly figures of this machine's filesystems are kept.",
            "minimum": 1,
            "maximum": 3650,
        },
        "nightly_crawl": {
            "type": "string",
            "title": "Nightly crawl",
            "description": 'When everything is looked at again, local time of the machine ("03:00"); empty for never.',
            "pattern": "^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9])?" + END,
        },
        "log_level": {
            "type": "enum",
            "title": "Log level",
            "description": "The least severe level that is logged.",
            "values": list(LEVELS),
        },
    },
}


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds on a node."""

    cache_max_bytes: int = 10_000_000_000
    cache_min_free_bytes: int = 1_000_000_000
    snapshot_days: int = 90
    nightly_crawl: str = "03:00"
    log_level: str = "info"


def schema() -> SettingsSchema:
    """The schema of the reserved instance, compiled."""
    return SettingsSchema(RESERVED, SCHEMA)


def of_config(config: Config) -> NodeSettings:
    """What the node's own file says."""
    return NodeSettings(
        cache_max_bytes=config.cache.max_bytes,
        cache_min_free_bytes=config.cache.min_free_bytes,
        nightly_crawl=config.agent.nightly_crawl,
        log_level=config.logging.level,
    )


def effective(config: Config, document: Mapping[str, Any] | None) -> tuple[NodeSettings, list[FieldError]]:
    """What holds with this document, and what of it was passed over because it is wrong."""
    base = of_config(config)
    if document is None:
        return base, []
    given = settings_of(document)
    wrong = schema().errors(given)
    bad = {error.field.partition(".")[0] for error in wrong}
    known = {key: given[key] for key in NodeSettings.__struct_fields__ if key in given and key not in bad}
    return msgspec.structs.replace(base, **known), wrong


def empty_document(node_id: str) -> dict[str, Any]:
    """The reserved instance of a node on which nothing was set yet."""
    return instance_document(node_id, RESERVED, title="This machine", created_at=times.format_time(0), settings={})


class SettingsOfNode:
    """The settings of this node as they are now. ``apply`` are called with every change, and once at the start."""

    def __init__(self, store: Store, config: Config, node_id: str) -> None:
        self._store = store
        self._config = config
        self._id = ids.plugin_document_id(node_id, RESERVED)
        self.apply: list[Callable[[NodeSettings], None]] = []
        self.current = of_config(config)
        self.problems: list[FieldError] = []

    def refresh(self) -> None:
        """Read the document, and apply what has changed."""
        before = self.current
        self.current, self.problems = effective(self._config, self._store.reader.get(self._id))
        for problem in self.problems:
            logger.warning(
                "setting %s of this machine %s", *problem, extra={"operation": "settings", "plugin": RESERVED}
            )
        if self.current != before:
            logger.info("the settings of this machine have changed", extra={"operation": "settings"})
            self._tell()

    def _tell(self) -> None:
        for function in self.apply:
            function(self.current)

    async def run(self) -> None:
        """Follow the document until cancelled or the store closes."""
        since = self._store.reader.seq()
        self.refresh()
        self._tell()
        async for change in self._store.changes(since, live=True, types={"plugin"}):
            if change.id == self._id:
                self.refresh()
