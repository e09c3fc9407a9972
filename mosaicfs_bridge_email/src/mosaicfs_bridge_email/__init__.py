"""Mailboxes as folders for MosaicFS (announced: this release holds its manifest alone)."""

from mosaicfs_core.hooks import PluginManifest, hookimpl

__version__ = "0.1.0"


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Say what the package will do, and that it does not do it yet."""
    return PluginManifest(
        title="Email bridge",
        description=(
            "Will show mailboxes of Gmail and IMAP accounts as folders of .eml files. Not available in this release."
        ),
        version=__version__,
        hook_api=1,
        available=False,
    )
