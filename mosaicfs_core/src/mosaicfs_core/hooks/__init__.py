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
from mosaicfs_core.hooks.arguments import node_argument, tree_argument, written_argument
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
from mosaicfs_core.hooks.events import EVENTS, FILE_EVENTS, EventName, FileEvent, SyncTrigger
from mosaicfs_core.hooks.filesystems import filesystem_id, mounted_beneath
from mosaicfs_core.hooks.health import HealthReport, Notice, Severity
from mosaicfs_core.hooks.hub import Hub, HubAccess, HubAddress, HubNote
from mosaicfs_core.hooks.kinds import KindContext, PluginKind, Program, RunningPlugin, hooks_asked
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
from mosaicfs_core.hooks.queries import (
    DASHBOARD_WIDGET,
    QUERY_TIMEOUT_S,
    SEARCH,
    Endpoint,
    Fragment,
    Hit,
    QueryRequest,
    ResultEnvelope,
)
from mosaicfs_core.hooks.specs import ENTRY_POINT_GROUP, HOOK_API, PluginManifest, StepOp, hookimpl, hookspec
from mosaicfs_core.hooks.trust import open_to_others
from mosaicfs_core.hooks.versions import etag_matches, etag_of, require_fresh
from mosaicfs_core.mount_table import resolved
from mosaicfs_core.wording import in_words

__all__ = [
    "DASHBOARD_WIDGET",
    "ENTRY_POINT_GROUP",
    "EVENTS",
    "FILE_EVENTS",
    "HOOK_API",
    "QUERY_TIMEOUT_S",
    "SEARCH",
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
    "Endpoint",
    "Entry",
    "EventName",
    "FileAnswer",
    "FileEvent",
    "FileOperation",
    "FilePlace",
    "FileQuery",
    "FileRecord",
    "FilesAnswer",
    "Fragment",
    "HealthReport",
    "Held",
    "Hit",
    "Hub",
    "HubAccess",
    "HubAddress",
    "HubNote",
    "InvalidDocument",
    "KindContext",
    "MosaicError",
    "NoRoom",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "Notice",
    "Page",
    "PluginContext",
    "PluginError",
    "PluginKind",
    "PluginManifest",
    "Problem",
    "Program",
    "QueryRequest",
    "Rename",
    "ResultEnvelope",
    "RoutesContext",
    "RunningPlugin",
    "SelectedFile",
    "SelectedFiles",
    "Selection",
    "Severity",
    "Stale",
    "Status",
    "StepOp",
    "SyncTrigger",
    "Unavailable",
    "UserError",
    "etag_matches",
    "etag_of",
    "file_document_id",
    "filesystem_id",
    "hookimpl",
    "hooks_asked",
    "hookspec",
    "in_words",
    "label_assignment_id",
    "label_rule_id",
    "mounted_beneath",
    "node_argument",
    "now_text",
    "open_to_others",
    "require_fresh",
    "resolved",
    "rule_covers",
    "tree_argument",
    "written_argument",
]
