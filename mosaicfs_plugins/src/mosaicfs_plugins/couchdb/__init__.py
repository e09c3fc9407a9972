"""couchdb: an Apache CouchDB database as the hub that several control planes share."""

from __future__ import annotations

from importlib.metadata import version

from mosaicfs_core.hooks import HOOK_API, Hub, HubAddress, PluginContext, PluginManifest, hookimpl


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """It has no instances and no settings: ``[hub]`` in the configuration switches it on."""
    return PluginManifest(
        title="CouchDB hub",
        description="Replicates a control plane with an Apache CouchDB database, which several of them may share.",
        version=version("mosaicfs-plugins"),
        hook_api=HOOK_API,
    )


@hookimpl
def mosaicfs_hub(context: PluginContext, address: HubAddress) -> Hub | None:
    """CouchDB behind any http or https address."""
    if not address.url.startswith(("http://", "https://")):
        return None
    from mosaicfs_plugins.couchdb.hub import CouchHub

    return CouchHub(address, context.logger)
