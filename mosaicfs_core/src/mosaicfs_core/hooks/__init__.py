"""The public API for plugin authors: hook specifications, the values that cross them, and the errors to raise.

Everything a plugin may import from the core is here and in ``mosaicfs_core.testing``. A plugin is a module (or
object) named by an entry point of the group ``mosaicfs``::

    from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(title="Hello", description="Says hello", version="1.0", hook_api=HOOK_API)
"""

from mosaicfs_core.documents.ids import file_document_id, label_assignment_id, label_rule_id
from mosaicfs_core.documents.times import now_text
from mosaicfs_core.errors import (
    Conflict,
    InvalidDocument,
    MosaicError,
    NoRoom,
    NotAllowed,
    NotFound,
    NotSignedIn,
    PluginError,
    Stale,
    Unavailable,
    UserError,
)
from mosaicfs_core.hooks.answers import FileAnswer, FilesAnswer
from mosaicfs_core.hooks.arguments import node_argument, written_argument
from mosaicfs_core.hooks.context import (
    Api,
    CommandContext,
    DocumentQuery,
    FilePlace,
    FileQuery,
    FileRecord,
    Held,
    Page,
    PluginContext,
    RoutesContext,
    SelectedFile,
    SelectedFiles,
    Selection,
    Status,
)
from mosaicfs_core.hooks.filesystems import filesystem_id, mounted_beneath
from mosaicfs_core.hooks.hub import Hub, HubAccess, HubAddress, HubNote
from mosaicfs_core.hooks.labels import rule_covers
from mosaicfs_core.hooks.operations import (
    Checkpoint,
    Complete,
    CompleteDirectory,
    CrawlRequest,
    Create,
    Delete,
    Directory,
    Entry,
    FileOperation,
    Problem,
    Rename,
)
from mosaicfs_core.hooks.specs import ENTRY_POINT_GROUP, HOOK_API, PluginManifest, StepOp, hookimpl, hookspec
from mosaicfs_core.hooks.versions import etag_matches, etag_of, require_fresh
from mosaicfs_core.mount_table import resolved
from mosaicfs_core.wording import in_words

__all__ = [
    "ENTRY_POINT_GROUP",
    "HOOK_API",
    "Api",
    "Checkpoint",
    "CommandContext",
    "Complete",
    "CompleteDirectory",
    "Conflict",
    "CrawlRequest",
    "Create",
    "Delete",
    "Directory",
    "DocumentQuery",
    "Entry",
    "FileAnswer",
    "FileOperation",
    "FilePlace",
    "FileQuery",
    "FileRecord",
    "FilesAnswer",
    "Held",
    "Hub",
    "HubAccess",
    "HubAddress",
    "HubNote",
    "InvalidDocument",
    "MosaicError",
    "NoRoom",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "Page",
    "PluginContext",
    "PluginError",
    "PluginManifest",
    "Problem",
    "Rename",
    "RoutesContext",
    "SelectedFile",
    "SelectedFiles",
    "Selection",
    "Stale",
    "Status",
    "StepOp",
    "Unavailable",
    "UserError",
    "etag_matches",
    "etag_of",
    "file_document_id",
    "filesystem_id",
    "hookimpl",
    "hookspec",
    "in_words",
    "label_assignment_id",
    "label_rule_id",
    "mounted_beneath",
    "node_argument",
    "now_text",
    "require_fresh",
    "resolved",
    "rule_covers",
    "written_argument",
]
