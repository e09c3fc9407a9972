"""Full-text search for MosaicFS (announced: this release holds its manifest alone)."""

from importlib.metadata import version

from mosaicfs_core.hooks import PluginManifest, hookimpl


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Say what the package will do, and that it does not do it yet."""
    return PluginManifest(
        title="Full-text search",
        description=(
            "Will extract the text of documents on each machine and answer searches over it, with an embedded index by "
            "default. Not available in this release."
        ),
        version=version("mosaicfs-fulltext"),
        hook_api=1,
        available=False,
    )
