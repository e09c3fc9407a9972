"""What an instance's document, and its package's manifest where that says nothing, mean to the job queue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import Endpoint, PluginManifest
from mosaicfs_core.jobs import Budget, Subscription, parse_budget
from mosaicfs_core.plugins.instances import Instance

logger = logging.getLogger(__name__)

_FILE_EVENT: Final = "mosaicfs_file_event"
_MAX_ATTEMPTS: Final = 3


def subscription_of(instance: Instance) -> Subscription | None:
    """Which events of which files an instance is told; None for one that has no use for any, and for one whose package
    is not there (gone, broken, not loaded) to say so.

    One that cannot run at present for another reason is as good as switched off: what waits for it waits on.
    """
    document, manifest = instance.document, _manifest(instance)
    if manifest is None and document.get("plugin_type", "package") == "package":
        return None
    events = tuple(document.get("subscribed_events") or (manifest.subscribed_events if manifest else ()))
    if not events or (instance.problem is None and _FILE_EVENT not in instance.hooks):
        return None
    return Subscription(
        events=events,
        mime_globs=tuple(document.get("mime_globs") or (manifest.mime_globs if manifest else ())),
        steps=tuple(document.get("steps") or ()),
        budget_steps=budget_of(document).steps,
        scope=document.get("scope", "node"),
        enabled=bool(document.get("enabled", True)) and instance.problem is None,
        version=manifest.version if manifest else None,
        reprocess=manifest.reprocess_on_new_version if manifest else False,
        workers=workers_of(instance),
        max_attempts=int(document.get("max_attempts") or _MAX_ATTEMPTS),
    )


def budget_of(document: Mapping[str, Any]) -> Budget:
    """The budget that an instance's document sets. One that cannot be understood allows nothing beyond none at all: it
    is logged, and the instance is not limited."""
    try:
        return parse_budget(document.get("budget"))
    except UserError as error:
        logger.warning("%s of %s", error, document.get("plugin_name"), extra={"operation": "jobs"})
        return Budget()


def workers_of(instance: Instance) -> int:
    """How many events an instance is given at once: its document's, else its manifest's."""
    manifest = _manifest(instance)
    return int(instance.document.get("workers") or (manifest.workers if manifest else 2))


def endpoints_of(instance: Instance) -> tuple[Endpoint, ...]:
    """The questions that an instance answers: its document's, else its manifest's."""
    manifest = _manifest(instance)
    declared = instance.document.get("query_endpoints")
    if declared:
        return tuple(
            Endpoint(**{name: str(one.get(name, "")) for name in Endpoint.__struct_fields__}) for one in declared
        )
    return manifest.queries if manifest else ()


def health_interval_of(instance: Instance) -> float:
    """Seconds between health checks: the document's, else the manifest's."""
    manifest = _manifest(instance)
    return float(
        instance.document.get("health_check_interval_s") or (manifest.health_check_interval_s if manifest else 300)
    )


def _manifest(instance: Instance) -> PluginManifest | None:
    return instance.plugin.manifest if instance.plugin is not None else None
