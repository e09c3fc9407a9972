"""Mailboxes as folders for MosaicFS (announced: this release holds its manifest alone)."""

from importlib.metadata import version

from mosaicfs_core.hooks import PluginManifest, hookimpl


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Say what the package will do, and that it does not do it yet."""
    return PluginManifest(
        title="Email bridge",
        description=(
            "Will show mailboxes of Gmail and IMAP accounts as folders of .eml files. Not available in this release."
        ),
        version=version("mosaicfs-bridge-email"),
        hook_api=1,
        available=False,
    )
