"""The documents about machines: what a node is, how it is doing, and how full its disks are. See ``types``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from mosaicfs_core.documents.base import (
    Count,
    Document,
    InstanceName,
    NodeId,
    Path,
    Record,
    Text,
    Time,
)
from mosaicfs_core.documents.patterns import END


class Transfer(Record, frozen=True, kw_only=True):
    """Where a node's bytes can be fetched."""

    endpoints: tuple[str, ...] = ()
    protocol: str = "http"


class Filesystem(Record, frozen=True, kw_only=True):
    """A filesystem of a node, and what is watched on it."""

    filesystem_id: Text
    mount_point: str
    fs_type: str
    device: str
    capacity_bytes: Count
    used_bytes: Count
    watch_paths_on_fs: tuple[str, ...] = ()
    volume: Any = None
    disk: Any = None


class CloudStorage(Record, frozen=True, kw_only=True):
    """What an account behind a node may hold."""

    billing_model: Literal["quota", "consumption"]
    quota_bytes: Count | None = None
    quota_available: bool = False


class NetworkMount(Record, frozen=True, kw_only=True):
    """Another node's files, reachable through a mount of this machine. A higher ``priority`` wins."""

    mount_id: Text
    remote_node_id: NodeId
    remote_base_export_path: Path
    local_mount_path: str
    mount_type: Text
    priority: int = 0


class Revocation(Record, frozen=True, kw_only=True):
    """How many times a node or an access key was disabled, and the control plane's proof of the last time."""

    number: Count
    proof: Text


class Lacking(Record, frozen=True, kw_only=True):
    """A capability that an instance of a node is there to answer and does not at present: why in a word, and since
    when."""

    capability: Text
    plugin_name: InstanceName
    reason: Text
    since: Time


class Node(Document, frozen=True, kw_only=True):
    """A machine or an account. ``NODE_AGENT_FIELDS`` belong to the node, ``NODE_CONTROL_FIELDS`` to the control plane.

    Each group has a version counter that its owner raises with every change; a merge takes each group from the branch
    with the higher counter. ``access_key_id`` is the key that the node was enrolled with: disabling it ends the node.
    ``heard_by`` is the control plane that hears of it, and so says whether it is there. ``capabilities`` is what can be
    asked of it now; ``lacking`` is absent while every instance there answers what it is there for.
    """

    type: Literal["node"] = "node"
    node_id: NodeId
    node_kind: Literal["physical", "cloud_bridge", "federated_peer"] = "physical"
    role: str | None = None
    friendly_name: Text
    platform: str | None = None
    status: Literal["online", "offline", "degraded", "disabled"] = "offline"
    heard_by: NodeId | None = None
    public_key: str | None = None
    access_key_id: Annotated[str, Meta(pattern="^MOSAICFS_[0-9a-fA-F]{16}" + END)] | None = None
    revocation: Revocation | None = None
    vfs_capable: bool | None = None
    vfs_backend: str | None = None
    capabilities: tuple[str, ...] = ()
    lacking: tuple[Lacking, ...] = ()
    available: Any = None
    transfer: Transfer | None = None
    storage: tuple[Filesystem, ...] = ()
    cloud_storage: CloudStorage | None = None
    bridge_type: str | None = None
    network_mounts: tuple[NetworkMount, ...] = ()
    agent_version: Count = 0
    control_version: Count = 0


NODE_AGENT_FIELDS: Final = (
    "platform",
    "vfs_capable",
    "vfs_backend",
    "capabilities",
    "lacking",
    "available",
    "transfer",
    "storage",
    "cloud_storage",
    "agent_version",
)
NODE_CONTROL_FIELDS: Final = (
    "node_kind",
    "role",
    "friendly_name",
    "status",
    "heard_by",
    "public_key",
    "access_key_id",
    "revocation",
    "bridge_type",
    "network_mounts",
    "control_version",
)


class Subsystem(Record, frozen=True, kw_only=True):
    """How a part of an agent is doing; its figures are in ``extra``."""

    status: Text
    detail: str = ""


class RecentError(Record, frozen=True, kw_only=True):
    """Something an agent logged as a warning or worse."""

    time: Time
    subsystem: str
    level: str
    message: str


class AgentStatus(Document, frozen=True, kw_only=True):
    """What an agent says of itself, on change, at most every 30 s."""

    type: Literal["agent_status"] = "agent_status"
    node_id: NodeId
    updated_at: Time
    overall: Literal["healthy", "degraded", "unhealthy"]
    subsystems: Mapping[str, Subsystem] = {}
    available_plugins: tuple[Mapping[str, Any], ...] = ()
    recent_errors: Annotated[tuple[RecentError, ...], Meta(max_length=50)] = ()
    watch_state: Any = None


class FilesystemUse(Record, frozen=True, kw_only=True):
    """How full a filesystem was."""

    filesystem_id: Text
    mount_point: str
    used_bytes: Count
    available_bytes: Count
    inodes_used: Count | None = None
    inodes_total: Count | None = None


class CloudUse(Record, frozen=True, kw_only=True):
    """How full an account was."""

    used_bytes: Count
    quota_bytes: Count | None = None


class UtilizationSnapshot(Document, frozen=True, kw_only=True):
    """One hour's figures of a node's filesystems; kept 90 days."""

    type: Literal["utilization_snapshot"] = "utilization_snapshot"
    node_id: NodeId
    captured_at: Time
    filesystems: tuple[FilesystemUse, ...] = ()
    cloud: CloudUse | None = None
