"""The eleven document types, as frozen structs; those about machines are in ``machines``. Times are text in document
form, sizes are bytes.

``codec.parse`` makes these from JSON objects and ``codec.to_document`` turns them back. An optional field that is None
is left out of the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from mosaicfs_core.documents.base import (
    Count,
    Document,
    Inode,
    InstanceName,
    Label,
    NodeId,
    NodeOrAny,
    Path,
    Positive,
    Record,
    Seconds,
    Step,
    Text,
    Time,
    Verdict,
)
from mosaicfs_core.documents.machines import AgentStatus, Node, Revocation, UtilizationSnapshot
from mosaicfs_core.documents.patterns import END


class FileSource(Record, frozen=True, kw_only=True):
    """Where a file is: written path on its node.

    The forms are checked with the document's id (``checks.file``), which costs less than a pattern for each.
    """

    node_id: str
    export_path: str
    export_parent: str


class FileDocument(Document, frozen=True, kw_only=True):
    """A regular file of a node. ``moved_from`` is its previous path until the labels have followed. ``renamed_onto`` is
    the id of the file that it was renamed onto and that goes on in its stead, with the labels of both."""

    type: Literal["file"] = "file"
    inode: Inode
    name: Text
    source: FileSource
    size: Count
    mtime: Time
    mime_type: Text | None = None
    status: Literal["active", "deleted"] = "active"
    deleted_at: Time | None = None
    moved_from: Path | None = None
    renamed_onto: Text | None = None
    provider: InstanceName | None = None


class MountSource(Record, frozen=True, kw_only=True):
    """Which files a mount shows: those of a node (``*``: of all) under a path."""

    node_id: NodeOrAny
    export_path: Path


class Mount(Record, frozen=True, kw_only=True):
    """One source of a virtual directory. ``source_prefix`` is what ``prefix_replace`` strips (default: the source)."""

    mount_id: Text
    source: MountSource
    strategy: Literal["prefix_replace", "flatten"] = "prefix_replace"
    source_prefix: Path | None = None
    steps: tuple[Step, ...] = ()
    default_result: Verdict = "include"
    conflict_policy: Literal["last_write_wins", "suffix_node_id"] = "last_write_wins"
    export: Any = None


class VirtualDirectory(Document, frozen=True, kw_only=True):
    """A directory of the virtual tree. The root has the path ``/``, the inode 1 and no parent."""

    type: Literal["virtual_directory"] = "virtual_directory"
    inode: Inode
    virtual_path: Path
    name: str
    parent_path: Path | None = None
    system: bool | None = None
    created_at: Time
    steps: tuple[Step, ...] | None = None
    default_result: Verdict | None = None
    enforce_steps_on_children: bool = False
    mounts: tuple[Mount, ...] = ()


class Permissions(Record, frozen=True, kw_only=True):
    """What a credential may do."""

    scope: Text = "full"


class Credential(Document, frozen=True, kw_only=True):
    """An access key. Never deleted, only disabled. ``signing_key`` is wrapped, the secret only a PHC string."""

    type: Literal["credential"] = "credential"
    access_key_id: Annotated[str, Meta(pattern="^MOSAICFS_[0-9a-fA-F]{16}" + END)]
    secret_key_hash: Text
    signing_key: Any = None
    name: Text
    kind: Literal["agent", "user", "hub"]
    node_id: NodeId | None = None
    enabled: bool = True
    revocation: Revocation | None = None
    created_at: Time
    last_seen: Time | None = None
    permissions: Permissions = Permissions()


class LabelTime(Record, frozen=True, kw_only=True):
    """When a label was last put on a file and last taken off it; the newer of the two holds, ``added`` on a tie."""

    added: Time | None = None
    removed: Time | None = None


class LabelAssignment(Document, frozen=True, kw_only=True):
    """The labels of one file, by place, so that they survive re-indexing. A merge decides by ``label_times``."""

    type: Literal["label_assignment"] = "label_assignment"
    node_id: NodeId
    export_path: Path
    labels: tuple[Label, ...]
    label_times: Mapping[str, LabelTime] = {}
    updated_at: Time
    updated_by: str | None = None


class LabelRule(Document, frozen=True, kw_only=True):
    """Labels for everything under a path (which ends with ``/``) of a node, or of all."""

    type: Literal["label_rule"] = "label_rule"
    node_id: NodeOrAny
    path_prefix: Annotated[str, Meta(pattern=r"^/([\s\S]*/)?" + END)]
    labels: Annotated[tuple[Label, ...], Meta(min_length=1)]
    name: str
    enabled: bool = True
    created_at: Time


class QueryEndpoint(Record, frozen=True, kw_only=True):
    """A question that a plugin instance answers."""

    name: Text
    capability: Text
    description: str = ""


class PluginDocument(Document, frozen=True, kw_only=True):
    """One instance of a plugin on a node. ``settings`` lie over ``config`` key by key. ``watches`` names the setting
    that lists the folders which it watches, ``answers`` the capabilities that its package answers."""

    type: Literal["plugin"] = "plugin"
    node_id: NodeId
    plugin_name: InstanceName
    package: Text | None = None
    plugin_type: Text = "package"
    enabled: bool = True
    paused: bool | None = None
    name: str
    subscribed_events: tuple[str, ...] = ()
    mime_globs: tuple[str, ...] = ()
    steps: tuple[Step, ...] | None = None
    config: Mapping[str, Any] = {}
    settings_schema: Mapping[str, Any] | None = None
    watches: Text | None = None
    answers: tuple[Text, ...] | None = None
    settings: Mapping[str, Any] | None = None
    workers: Positive = 2
    timeout_s: Seconds = 60
    max_attempts: Positive = 3
    health_check_interval_s: Seconds = 300
    poll_interval_s: Seconds | None = None
    schedule: Any = None
    budget: Any = None
    scope: Literal["node", "instance"] = "node"
    query_endpoints: tuple[QueryEndpoint, ...] = ()
    provides_filesystem: bool = False
    file_path_prefix: Path | None = None
    isolate: bool | None = None
    created_at: Time


class Annotation(Document, frozen=True, kw_only=True):
    """What a plugin says of a file. ``data`` is the plugin's own object."""

    type: Literal["annotation"] = "annotation"
    node_id: NodeId
    export_path: Path
    plugin_name: InstanceName
    annotated_by: NodeId
    data: Mapping[str, Any] = {}
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None
    annotated_at: Time
    updated_at: Time
    source_mtime: Time
    source_size: Count
    plugin_version: str | None = None


class NotificationSource(Record, frozen=True, kw_only=True):
    """Who raised a notification: a node, or ``control-plane``."""

    node_id: NodeId
    component: Text


class NotificationAction(Record, frozen=True, kw_only=True):
    """Something safe the user may do about it; ``action`` is a name from a fixed list."""

    label: Text
    action: Text
    params: Mapping[str, Any] = {}


class Notification(Document, frozen=True, kw_only=True):
    """A condition that the user should know of."""

    type: Literal["notification"] = "notification"
    source: NotificationSource
    severity: Literal["info", "warning", "error"]
    status: Literal["active", "acknowledged", "resolved"] = "active"
    title: Text
    message: str = ""
    actions: tuple[NotificationAction, ...] = ()
    condition_key: Text
    first_seen: Time
    last_seen: Time
    occurrence_count: Positive = 1
    acknowledged_at: Time | None = None
    resolved_at: Time | None = None


DOCUMENT_TYPES: Final[Mapping[str, type[Document]]] = {
    "file": FileDocument,
    "virtual_directory": VirtualDirectory,
    "node": Node,
    "credential": Credential,
    "agent_status": AgentStatus,
    "utilization_snapshot": UtilizationSnapshot,
    "label_assignment": LabelAssignment,
    "label_rule": LabelRule,
    "plugin": PluginDocument,
    "annotation": Annotation,
    "notification": Notification,
}
