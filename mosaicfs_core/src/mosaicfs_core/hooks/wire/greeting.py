"""What a plugin in another process is told first."""

from __future__ import annotations

from typing import Final

from mosaicfs_core.hooks.kinds import KindContext
from mosaicfs_core.hooks.specs import HOOK_API
from mosaicfs_core.hooks.wire.messages import HostHello

WINDOW: Final = 64
"""Events that may be unacknowledged."""
WORKERS: Final = 2
"""Events that a plugin works on at once when nobody says."""


def hello_of(context: KindContext, workers: int = WORKERS) -> HostHello:
    """What a plugin is told first of the instance that it runs as. ``workers`` is how many events it is to work on at
    once unless the instance's document says."""
    plugin, document = context.plugin, context.document
    return HostHello(
        hook_api=HOOK_API,
        node_id=plugin.node_id,
        instance=plugin.instance,
        package=context.package,
        config=plugin.config,
        window=WINDOW,
        workers=int(document.get("workers") or workers),
        timeout_s=context.timeout_s,
        state_dir=str(plugin.state_dir),
        files_dir=str(plugin.files_dir) if plugin.prefix else "",
        prefix=plugin.prefix,
        excluded=tuple(str(path) for path in plugin.excluded),
    )
