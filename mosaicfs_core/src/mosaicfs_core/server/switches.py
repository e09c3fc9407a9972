"""Routes of plugins whose instances on this node are all switched off: they answer 404 and say how to switch one on."""

from __future__ import annotations

from collections.abc import Mapping

from quart import Quart, request

from mosaicfs_core.errors import NotFound
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import is_wanted


def install(app: Quart, core: CoreServices, owners: Mapping[str, str]) -> None:
    """Look at every request before its view runs. ``owners`` maps blueprints' names to the plugins they are of."""

    async def refuse_switched_off() -> None:
        for plugin in {owners[name] for name in request.blueprints if name in owners}:
            if not await is_wanted(core, plugin):
                raise NotFound(
                    f"{plugin} is switched off on this node; `mosaicfs plugin enable {plugin}` switches it on",
                    plugin=plugin,
                )

    app.before_request(refuse_switched_off)
