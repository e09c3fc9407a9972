"""What a document's fields must say of one another: its id, its path and the parts derived from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from mosaicfs_core.documents import ids, paths
from mosaicfs_core.documents.times import parse_canonical
from mosaicfs_core.errors import InvalidDocument, UserError

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_file_id = re.compile(rf"file::({ids.NODE_ID_PATTERN})::{_UUID}").fullmatch
_rule_id = re.compile(rf"label_rule::{_UUID}").fullmatch


def fail(field: str, problem: str) -> NoReturn:
    raise InvalidDocument(f"{field}: {problem}" if field else problem, field=field)


def _id_is(document: Mapping[str, Any], expected: str) -> None:
    if document["_id"] != expected:
        fail("_id", f"{document['_id']!r} does not agree with the document's fields: expected {expected!r}")


def _written(field: str, path: str) -> None:
    """A path in written form without empty, ``.`` or ``..`` components; it may end with a slash."""
    if not paths.is_written(path):
        fail(field, f"{path!r} {paths.why_not_written(path)}")
    if "//" in path or "/." in path:
        for part in path.split("/")[1:-1]:
            if part in ("", ".", ".."):
                fail(field, f"{path!r} has the component {part!r}: expected plain names")
        if path.endswith(("/.", "/..")):
            fail(field, f"{path!r} ends in {path.rpartition('/')[2]!r}: expected plain names")


def _time(field: str, text: str) -> None:
    try:
        parse_canonical(text)
    except UserError as error:
        fail(field, error.message)


def file(document: Mapping[str, Any]) -> None:
    """On the hot path of every crawl: the costly checks run only where a cheap one says that they could fail."""
    source = document["source"]
    match = _file_id(document["_id"])
    if match is None or match[1] != source["node_id"]:
        fail("_id", f"{document['_id']!r} is not of the form file::{source['node_id']}::uuid")
    path = source["export_path"]
    parent, _, name = path.rpartition("/")
    if path[:1] != "/":
        fail("source.export_path", f"{path!r} is not absolute: expected it to begin with /")
    if not path.isascii() or "\0" in path or "//" in path or "/." in path:
        _written("source.export_path", path)
    if name != document["name"]:
        fail("name", f"{document['name']!r} is not the last component of {path!r}")
    if (parent or "/") != source["export_parent"]:
        fail("source.export_parent", f"{source['export_parent']!r} is not the parent of {path!r}")
    if document["mtime"][8:10] > "28":  # the type's pattern lets through the 31st of February
        _time("mtime", document["mtime"])


def virtual_directory(document: Mapping[str, Any]) -> None:
    path = document["virtual_path"]
    if paths.is_under(path, "/federation"):
        fail("virtual_path", "/federation is reserved: choose another path")
    try:
        normal = paths.normalize_virtual(path)
    except UserError as error:
        fail("virtual_path", error.message)
    if normal != path:
        fail("virtual_path", f"{path!r} is not in its plain form: expected {normal!r}")
    _id_is(document, ids.directory_document_id(path))
    if path != "/":
        if document["name"] != paths.name_of(path):
            fail("name", f"{document['name']!r} is not the last component of {path!r}")
        if document.get("parent_path") != paths.parent_of(path):
            fail("parent_path", f"{document.get('parent_path')!r} is not the parent of {path!r}")
    elif document["inode"] != 1:
        fail("inode", "the root's inode is 1")
    if document.get("enforce_steps_on_children") and not document.get("steps"):
        fail("steps", "enforce_steps_on_children needs steps: expected at least one")
    seen: set[str] = set()
    for number, mount in enumerate(document.get("mounts") or ()):
        _written(f"mounts[{number}].source.export_path", mount["source"]["export_path"])
        if mount["mount_id"] in seen:
            fail(f"mounts[{number}].mount_id", f"{mount['mount_id']!r} stands twice in this directory")
        seen.add(mount["mount_id"])


def node(document: Mapping[str, Any]) -> None:
    _id_is(document, ids.node_document_id(document["node_id"]))


def credential(document: Mapping[str, Any]) -> None:
    _id_is(document, ids.credential_document_id(document["access_key_id"]))


def agent_status(document: Mapping[str, Any]) -> None:
    _id_is(document, ids.status_document_id(document["node_id"]))


def utilization_snapshot(document: Mapping[str, Any]) -> None:
    _id_is(document, ids.utilization_document_id(document["node_id"], document["captured_at"]))


def label_assignment(document: Mapping[str, Any]) -> None:
    _written("export_path", document["export_path"])
    _id_is(document, ids.label_assignment_id(document["node_id"], document["export_path"]))


def label_rule(document: Mapping[str, Any]) -> None:
    if _rule_id(document["_id"]) is None:
        fail("_id", f"{document['_id']!r} is not of the form label_rule::uuid")
    _written("path_prefix", document["path_prefix"])


def plugin(document: Mapping[str, Any]) -> None:
    _id_is(document, ids.plugin_document_id(document["node_id"], document["plugin_name"]))


def annotation(document: Mapping[str, Any]) -> None:
    _written("export_path", document["export_path"])
    key = (document["node_id"], document["export_path"], document["plugin_name"], document["annotated_by"])
    _id_is(document, ids.annotation_id(*key))


def notification(document: Mapping[str, Any]) -> None:
    _id_is(document, ids.notification_document_id(document["source"]["node_id"], document["condition_key"]))


CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    "file": file,
    "virtual_directory": virtual_directory,
    "node": node,
    "credential": credential,
    "agent_status": agent_status,
    "utilization_snapshot": utilization_snapshot,
    "label_assignment": label_assignment,
    "label_rule": label_rule,
    "plugin": plugin,
    "annotation": annotation,
    "notification": notification,
}


def tombstone(document: Mapping[str, Any], type_name: str) -> None:
    """A deleted document keeps its type and owner fields, a bare one only its id; what it says must agree."""
    if (stated := document.get("type", type_name)) != type_name:
        fail("type", f"{stated!r} does not agree with the id {document['_id']!r}: expected {type_name!r}")
    parts = document["_id"].split("::")
    if type_name == "plugin" and (len(parts) != 3 or re.fullmatch(ids.INSTANCE_PATTERN, parts[2]) is None):
        fail("_id", f"{document['_id']!r} is not of the form plugin::node::instance")
    if type_name in _NODE_IN_ID and (owner := document.get("node_id", parts[1])) != parts[1]:
        fail("node_id", f"{owner!r} does not agree with the id {document['_id']!r}")


_NODE_IN_ID: Final = frozenset(
    {"node", "agent_status", "utilization_snapshot", "label_assignment", "plugin", "annotation"}
)
