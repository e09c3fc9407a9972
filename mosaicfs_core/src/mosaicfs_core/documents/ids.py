"""Document ids: deterministic wherever a natural key exists. Every function is pure but the ``new_`` ones."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from mosaicfs_core.errors import UserError

CONTROL_PLANE: Final = "control-plane"
ROOT_DIRECTORY_ID: Final = "dir::root"
FIRST_DERIVED_INODE: Final = 1000
INODES_TRIED: Final = 16
"""How many inodes a document may choose from: the derived one and those that follow it, the first that is free. One is
taken once in a million replicas of a million files, so nobody ever needs the last."""
NODE_ID_PATTERN: Final = r"[a-z0-9][a-z0-9-]{0,127}"
INSTANCE_PATTERN: Final = r"[a-z0-9][a-z0-9_-]{0,63}"

# One prefix for each type; ``id_prefix`` routes a tombstone that carries no type.
TYPE_PREFIXES: Final = {
    "file": "file",
    "virtual_directory": "dir",
    "node": "node",
    "credential": "credential",
    "agent_status": "status",
    "utilization_snapshot": "utilization",
    "label_assignment": "label_file",
    "label_rule": "label_rule",
    "plugin": "plugin",
    "annotation": "annotation",
    "notification": "notification",
}
_TYPES_BY_PREFIX: Final = {prefix: type_name for type_name, prefix in TYPE_PREFIXES.items()}

# The namespace of uuid5 file ids. It never changes: an agent that lost its replica must derive the same ids again.
_FILE_NAMESPACE: Final = uuid.UUID("6d6f7361-6963-5673-8f69-6c6573000001")
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_uuid_form = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def path_hash(path: str) -> str:
    """sha256 of a written path, hexadecimal."""
    return hashlib.sha256(path.encode("utf-8")).hexdigest()


def type_of_id(document_id: str) -> str | None:
    """The document type that an id's prefix stands for, or None."""
    return _TYPES_BY_PREFIX.get(document_id.partition("::")[0])


def file_document_id(node_id: str, file_uuid: str) -> str:
    """``file::{node_id}::{uuid}``."""
    return f"file::{node_id}::{file_uuid}"


def first_file_uuid(node_id: str, export_path: str) -> str:
    """The uuid a path gets first: derived from node and path, so that a rebuilt agent finds the same."""
    # ``str(uuid.uuid5(...))``, three times as fast: a first crawl makes one for each file.
    digest = hashlib.sha1(_FILE_NAMESPACE.bytes + f"{node_id}\0{export_path}".encode(), usedforsecurity=False).digest()
    text = digest[:16].hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def next_file_uuid() -> str:
    """A random uuid for a path whose first one is taken by a file that moved away."""
    return str(uuid.uuid4())


def short_file_id(document_id: str) -> str:
    """``{node_id}.{uuid}`` of ``file::{node_id}::{uuid}``; ``UserError`` for any other id."""
    prefix, _, rest = document_id.partition("::")
    node_id, separator, file_uuid = rest.rpartition("::")
    if prefix != "file" or not separator:
        raise UserError(f"{document_id!r} is not the id of a file")
    return f"{node_id}.{file_uuid}"


def full_file_id(short_id: str) -> str:
    """``file::{node_id}::{uuid}`` of ``{node_id}.{uuid}``; ``UserError`` for anything else."""
    node_id, separator, file_uuid = short_id.rpartition(".")
    if not separator or not node_id or _uuid_form(file_uuid) is None:
        raise UserError(f"{short_id!r} is not a file id: expected node.uuid", field="file_id")
    return f"file::{node_id}::{file_uuid}"


def directory_document_id(virtual_path: str) -> str:
    """``dir::{sha256(virtual_path)}``; the root's is ``dir::root``."""
    return ROOT_DIRECTORY_ID if virtual_path == "/" else f"dir::{path_hash(virtual_path)}"


def node_document_id(node_id: str) -> str:
    return f"node::{node_id}"


def credential_document_id(access_key_id: str) -> str:
    return f"credential::{access_key_id}"


def status_document_id(node_id: str) -> str:
    return f"status::{node_id}"


def utilization_document_id(node_id: str, captured_at: str) -> str:
    """One snapshot per hour: ``utilization::{node_id}::{YYYY-MM-DDTHH:00:00Z}`` of a time in document form."""
    return f"utilization::{node_id}::{captured_at[:13]}:00:00Z"


def label_assignment_id(node_id: str, export_path: str) -> str:
    return f"label_file::{node_id}::{path_hash(export_path)}"


def label_rule_id(rule_uuid: str) -> str:
    return f"label_rule::{rule_uuid}"


def plugin_document_id(node_id: str, plugin_name: str) -> str:
    return f"plugin::{node_id}::{plugin_name}"


def annotation_id(node_id: str, export_path: str, plugin_name: str, annotated_by: str | None = None) -> str:
    """The annotation of one file by one plugin instance; another node's than the file's is named at the end."""
    own = f"annotation::{node_id}::{path_hash(export_path)}::{plugin_name}"
    return own if annotated_by is None or annotated_by == node_id else f"{own}@{annotated_by}"


def notification_document_id(source_id: str, condition_key: str) -> str:
    """``source_id`` is the node id of the source, or ``control-plane``."""
    return f"notification::{source_id}::{condition_key}"


def short_notification_id(document_id: str) -> str:
    """The id of a notification in REST paths: base64url of the document id, without padding."""
    return urlsafe_b64encode(document_id.encode("utf-8")).rstrip(b"=").decode("ascii")


def full_notification_id(short_id: str) -> str:
    """Undo ``short_notification_id``; ``UserError`` for anything else."""
    try:
        document_id = urlsafe_b64decode(short_id + "=" * (-len(short_id) % 4)).decode("utf-8")
    except ValueError:
        document_id = ""
    if not document_id.startswith("notification::"):
        raise UserError(f"{short_id!r} is not a notification id")
    return document_id


def derived_inode(document_id: str) -> int:
    """The inode a document asks for: the first 53 bits of sha256 of its id, never below 1,000."""
    first = int.from_bytes(hashlib.sha256(document_id.encode("utf-8")).digest()[:8], "big") >> 11
    return first if first >= FIRST_DERIVED_INODE else first + FIRST_DERIVED_INODE


def is_own_inode(document_id: str, inode: object) -> bool:
    """Whether a document may have this inode. A node chooses no other for its files: it could be another file's."""
    return isinstance(inode, int) and is_near_inode(derived_inode(document_id), inode)


def is_near_inode(derived: int, inode: int) -> bool:
    """Whether an inode is the derived one, or one of those that it may give way to."""
    return 0 <= inode - derived < INODES_TRIED


def slug(name: str) -> str:
    """``name`` in lower case ASCII letters, digits and single hyphens, at most 40; ``node`` when none is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "node"


def new_node_id(name: str) -> str:
    """``node-{slug}-{4 random base32 characters}``."""
    return f"node-{slug(name)}-{''.join(secrets.choice(_BASE32) for _ in range(4))}"


def new_control_plane_id(name: str) -> str:
    """The node id of a control plane: ``control-plane-{slug}-{4 random base32 characters}``."""
    return f"control-plane-{slug(name)}-{''.join(secrets.choice(_BASE32) for _ in range(4))}"


def new_access_key_id() -> str:
    """``MOSAICFS_`` and 16 hexadecimal digits."""
    return f"MOSAICFS_{secrets.token_hex(8)}"


def new_uuid() -> str:
    """A random uuid, for documents without a natural key (label rules, mounts)."""
    return str(uuid.uuid4())
