"""What the user is told of plugins that are installed and cannot be used."""

from __future__ import annotations

import logging
from typing import Final

from mosaicfs_core.documents.notifications import Condition
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.notifying import raise_condition, resolve_all

logger = logging.getLogger(__name__)

_KEY: Final = "plugin_failed:"


async def tell_of_broken(core: CoreServices) -> None:
    """Raise a condition for each plugin that did not load, and resolve those of plugins that load now or are gone. What
    cannot be written now is written at the next start."""
    broken = {plugin.name: plugin.error or "" for plugin in core.host.plugins.values() if plugin.status == "failed"}
    try:
        for name, error in broken.items():
            title = f"The plugin {name} cannot be used"
            await raise_condition(core.store, Condition(core.node_id, "plugins", _KEY + name, "error", title, error))
        others = {_KEY + name for name in broken}
        await resolve_all(
            core.store,
            core.node_id,
            lambda one: one["condition_key"].startswith(_KEY) and one["condition_key"] not in others,
        )
    except MosaicError as error:
        logger.warning("plugins that cannot be used are not told of: %s", error, extra={"operation": "plugins"})
