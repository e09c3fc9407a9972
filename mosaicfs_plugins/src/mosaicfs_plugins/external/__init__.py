"""external: plugins in any language, as programs that are run for each event or that listen on a socket."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from mosaicfs_core.hooks import HOOK_API, PluginKind, PluginManifest, hookimpl


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """It has no instances of its own: it runs those whose type is ``executable`` or ``socket``."""
    return PluginManifest(
        title="Foreign programs",
        description="Runs programs in the plugin directory, and talks to those that listen on a socket, as plugins.",
        version=version("mosaicfs-plugins"),
        hook_api=HOOK_API,
    )


@hookimpl
def mosaicfs_plugin_kinds() -> Sequence[PluginKind]:
    """Programs that are run for one event each, and programs that stay."""
    from mosaicfs_plugins.external.executable import ExecutableKind
    from mosaicfs_plugins.external.socket import SocketKind

    return [ExecutableKind(), SocketKind()]
