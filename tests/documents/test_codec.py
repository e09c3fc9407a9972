"""Protects documents: valid ones pass and survive a round trip whole, invalid ones are refused with the field named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaicfs_core import documents as d
from mosaicfs_core.documents.base import EXTRA_WIRE_NAME
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import InvalidDocument, UserError

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"], exclude_characters="/"), min_size=1, max_size=8
)
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
TIMES = st.integers(0, 4_000_000_000_000_000).map(d.format_time)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
NODE_IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,12}", fullmatch=True)


def _strings(info: msgspec.inspect.StrType) -> st.SearchStrategy[str]:
    pattern = info.pattern or ""
    if "T(" in pattern:
        return TIMES
    if pattern == "^/":
        return PATHS
    if pattern:
        return st.from_regex(pattern.removesuffix(END) + r"\Z", fullmatch=False).filter(
            lambda text: len(text) < 200 and "\n" not in text
        )
    return TEXT.filter(lambda text: len(text) >= (info.min_length or 0))


def values(info: Any) -> st.SearchStrategy[Any]:
    """JSON values of a type as ``msgspec.inspect`` describes it."""
    inspect = msgspec.inspect
    match info:
        case inspect.StrType():
            return _strings(info)
        case inspect.IntType():
            return st.integers(info.ge if info.ge is not None else -(2**53), (info.lt or 2**53) - 1)
        case inspect.FloatType():
            return st.integers(1, 10**6)
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.VarTupleType():
            return st.lists(values(info.item_type), min_size=info.min_length or 0, max_size=2)
        case inspect.DictType():
            return st.dictionaries(TEXT, values(info.value_type), max_size=2)
        case inspect.UnionType():
            return st.one_of([values(part) for part in info.types if not isinstance(part, inspect.NoneType)])
        case inspect.StructType():
            return objects(info)
        case _:
            return JSON.filter(lambda value: value is not None)


def objects(info: msgspec.inspect.StructType) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a struct type, with fields that the type does not know."""
    wanted = [field for field in info.fields if field.encode_name not in (EXTRA_WIRE_NAME, "_deleted", "_rev")]
    required = {field.encode_name: values(field.type) for field in wanted if field.required}
    optional = {field.encode_name: values(field.type) for field in wanted if not field.required}
    unknown = st.dictionaries(st.sampled_from(["x_new", "x_newer"]), JSON, max_size=2)
    return st.builds(
        lambda known, extra: {**known, **extra}, st.fixed_dictionaries(required, optional=optional), unknown
    )


def _file(doc: dict[str, Any], node_id: str, path: str, uuid: str) -> None:
    doc["source"].update(node_id=node_id, export_path=path, export_parent=d.parent_of(path))
    doc.update(_id=d.file_document_id(node_id, uuid), name=d.name_of(path))


def _directory(doc: dict[str, Any], node_id: str, path: str, uuid: str) -> None:
    path = path if not d.is_under(path, "/federation") else "/other"
    doc.update(
        _id=d.directory_document_id(path), virtual_path=path, name=d.name_of(path), parent_path=d.parent_of(path)
    )
    doc["enforce_steps_on_children"] = bool(doc.get("steps"))
    for number, mount in enumerate(doc.get("mounts", ())):
        mount["mount_id"] = f"{uuid}-{number}"


def _annotation(doc: dict[str, Any], node_id: str, path: str, uuid: str) -> None:
    doc.update(node_id=node_id, export_path=path)
    doc["_id"] = d.annotation_id(node_id, path, doc["plugin_name"], doc["annotated_by"])


def _notification(doc: dict[str, Any], node_id: str, path: str, uuid: str) -> None:
    doc["_id"] = d.notification_document_id(doc["source"]["node_id"], doc["condition_key"])


# What the types cannot say: each entry makes a generated document agree with itself.
AGREE: dict[str, Callable[[dict[str, Any], str, str, str], None]] = {
    "file": _file,
    "virtual_directory": _directory,
    "node": lambda doc, node_id, path, uuid: doc.update(_id=d.node_document_id(doc["node_id"])),
    "credential": lambda doc, node_id, path, uuid: doc.update(_id=d.credential_document_id(doc["access_key_id"])),
    "agent_status": lambda doc, node_id, path, uuid: doc.update(_id=d.status_document_id(doc["node_id"])),
    "utilization_snapshot": lambda doc, node_id, path, uuid: doc.update(
        _id=d.utilization_document_id(doc["node_id"], doc["captured_at"])
    ),
    "label_assignment": lambda doc, node_id, path, uuid: doc.update(
        node_id=node_id, export_path=path, _id=d.label_assignment_id(node_id, path)
    ),
    "label_rule": lambda doc, node_id, path, uuid: doc.update(path_prefix=path + "/", _id=d.label_rule_id(uuid)),
    "plugin": lambda doc, node_id, path, uuid: doc.update(_id=d.plugin_document_id(doc["node_id"], doc["plugin_name"])),
    "annotation": _annotation,
    "notification": _notification,
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    type_name = draw(st.sampled_from(sorted(d.DOCUMENT_TYPES)))
    info = msgspec.inspect.type_info(d.DOCUMENT_TYPES[type_name])
    assert isinstance(info, msgspec.inspect.StructType)
    doc = draw(objects(info))
    doc["type"] = type_name
    AGREE[type_name](doc, draw(NODE_IDS), draw(PATHS), draw(st.uuids().map(str)))
    if draw(st.booleans()):
        doc["_rev"] = "1-abc"
    return doc


def contains(whole: Any, part: Any) -> bool:
    """Whether everything ``part`` says ``whole`` says too (defaults may have been added)."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


@settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
@given(documents())
def test_documents_of_every_type_survive_a_round_trip(doc: dict[str, Any]) -> None:
    d.validate(doc)
    written = d.to_document(d.parse(doc))
    assert contains(written, doc)
    assert d.to_document(d.parse(written)) == written
    assert d.owner_of(doc)
    assert d.may_write(doc, d.owner_of(doc))
    jsonschema.validate(doc, SCHEMAS[doc["type"]])


SCHEMAS = {type_name: d.json_schema(type_name) for type_name in d.DOCUMENT_TYPES}

NODE = "node-laptop-7f3a"
PATH = "/home/user/report.pdf"
TIME = "2026-02-16T09:22:00.000000Z"


def file_document(**changes: Any) -> dict[str, Any]:
    return {
        "_id": d.file_document_id(NODE, d.first_file_uuid(NODE, PATH)),
        "type": "file",
        "inode": 4711,
        "name": "report.pdf",
        "source": {"node_id": NODE, "export_path": PATH, "export_parent": "/home/user"},
        "size": 204800,
        "mtime": TIME,
        "mime_type": "application/pdf",
        "status": "active",
        **changes,
    }


def directory(path: str, **changes: Any) -> dict[str, Any]:
    return {
        "_id": d.directory_document_id(path),
        "type": "virtual_directory",
        "inode": 1 if path == "/" else 5000,
        "virtual_path": path,
        "name": d.name_of(path),
        "parent_path": d.parent_of(path),
        "created_at": TIME,
        "mounts": [],
        **changes,
    }


def source(path: str, **changes: Any) -> dict[str, Any]:
    return {"node_id": NODE, "export_path": path, "export_parent": d.parent_of(path), **changes}


@pytest.mark.parametrize(
    ("doc", "field"),
    [
        (file_document(size="big"), "size"),
        (file_document(size=-1), "size"),
        (file_document(size=2**53), "size"),
        (file_document(size=True), "size"),
        (file_document(mtime="2026-02-16T09:22:00Z"), "mtime"),
        (file_document(mtime="2026-02-31T09:22:00.000000Z"), "mtime"),
        (file_document(status="gone"), "status"),
        (file_document(name="other.pdf"), "name"),
        (file_document(source=source(PATH, export_parent="/home")), "source.export_parent"),
        (file_document(source={"node_id": NODE}), "source.export_path"),
        (file_document(source=source("home/user/report.pdf")), "source.export_path"),
        (file_document(source=source("/home/../report.pdf")), "source.export_path"),
        (file_document(source=source("/home//report.pdf")), "source.export_path"),
        (file_document(source=source("/home/\0/report.pdf")), "source.export_path"),
        (file_document(source=source("/home/\ud800/report.pdf")), "source.export_path"),
        (file_document(source=source("/home/\U0010ff41/report.pdf")), "source.export_path"),
        (file_document(source=source("/home/..", export_parent="/home"), name=".."), "source.export_path"),
        (file_document(source=source(PATH, node_id="node-other")), "_id"),
        (file_document(_id="file::node-laptop-7f3a::x"), "_id"),
        (file_document(_id=None), "_id"),
        (file_document(type="fiel"), "type"),
        (file_document(type=None), "type"),
        (file_document(type=["file"]), "type"),
        (directory("/federation"), "virtual_path"),
        (directory("/federation/x"), "virtual_path"),
        (directory("/a/../b"), "virtual_path"),
        (directory("/a/"), "virtual_path"),
        (directory("/a", name="b"), "name"),
        (directory("/a/b", parent_path="/"), "parent_path"),
        (directory("/", inode=2), "inode"),
        (directory("/a", _id="dir::a"), "_id"),
        (directory("/a", enforce_steps_on_children=True), "steps"),
        (directory("/a", steps=[{"op": "glob", "on_match": "maybe"}]), "steps[0].on_match"),
        (directory("/a", mounts=[{"mount_id": "m", "source": {"node_id": "*"}}]), "mounts[0].source.export_path"),
        (
            directory("/a", mounts=[{"mount_id": "m", "source": {"node_id": "*", "export_path": "/x"}}] * 2),
            "mounts[1].mount_id",
        ),
        ({"_id": "nobody::x", "_deleted": True}, "_id"),
        ({"_id": d.file_document_id(NODE, "u"), "_deleted": True, "type": "node"}, "type"),
        ({"_id": f"plugin::{NODE}::x", "_deleted": True, "type": "plugin", "node_id": "node-b"}, "node_id"),
    ],
)
def test_a_wrong_document_is_refused_with_the_field_named(doc: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidDocument) as raised:
        d.validate(doc)
    assert raised.value.field == field
    assert raised.value.details["field"] == field
    assert field in raised.value.message
    assert not d.is_valid(doc)


@pytest.mark.parametrize("name", sorted(file_document().keys() - {"mime_type", "status"}))
def test_a_missing_field_is_named(name: str) -> None:
    doc = {key: value for key, value in file_document().items() if key != name}
    with pytest.raises(InvalidDocument) as raised:
        d.validate(doc)
    assert raised.value.field == name


@pytest.mark.parametrize(
    ("tombstone", "owner"),
    [
        ({"_id": f"file::{NODE}::{d.new_uuid()}", "_deleted": True}, NODE),
        ({"_id": f"file::{NODE}::x", "_deleted": True, "type": "file", "source": {"node_id": NODE}}, NODE),
        ({"_id": d.annotation_id(NODE, PATH, "ocr", "node-b"), "_deleted": True}, "node-b"),
        ({"_id": d.annotation_id(NODE, PATH, "ocr"), "_deleted": True, "type": "annotation"}, NODE),
        ({"_id": d.status_document_id(NODE), "_deleted": True}, NODE),
        ({"_id": d.notification_document_id("control-plane", "disk"), "_deleted": True}, "control-plane"),
        ({"_id": d.plugin_document_id(NODE, "localfs"), "_deleted": True, "node_id": NODE}, "control-plane"),
        ({"_id": "dir::root", "_deleted": True}, "control-plane"),
    ],
)
def test_tombstones_pass_and_have_an_owner(tombstone: dict[str, Any], owner: str) -> None:
    d.validate(tombstone)
    assert d.owner_of(tombstone) == owner
    with pytest.raises(InvalidDocument, match="no typed form"):
        d.parse(tombstone)


def test_second_writers() -> None:
    assignment = {"_id": d.label_assignment_id(NODE, PATH), "type": "label_assignment", "node_id": NODE}
    node = {"_id": d.node_document_id(NODE), "type": "node", "node_id": NODE}
    notification = {"_id": f"notification::{NODE}::full", "type": "notification", "source": {"node_id": NODE}}
    for doc in (assignment, node, notification):
        assert d.may_write(doc, NODE)
        assert d.may_write(doc, "control-plane")
        assert not d.may_write(doc, "node-other")
    assert not d.may_write(file_document(), "control-plane")
    assert not d.may_write({"_id": d.plugin_document_id(NODE, "x"), "type": "plugin"}, NODE)


def test_unknown_fields_survive_at_every_depth() -> None:
    doc = directory(
        "/a",
        colour="red",
        mounts=[
            {
                "mount_id": "m",
                "source": {"node_id": "*", "export_path": "/x", "shelf": 3},
                "steps": [{"op": "sparkle", "glitter": {"amount": 2}}],
                "newer": [1, {"b": None}],
            }
        ],
    )
    assert contains(d.to_document(d.parse(doc)), doc)


def test_a_struct_made_in_code_is_checked_on_its_way_out() -> None:
    rule = d.LabelRule(
        id=d.label_rule_id(d.new_uuid()), node_id="*", path_prefix="/x/", labels=("a",), name="x", created_at=TIME
    )
    assert d.new_document(rule)["labels"] == ["a"]
    with pytest.raises(InvalidDocument):
        d.new_document(msgspec.structs.replace(rule, path_prefix="/x"))


def test_a_newline_is_a_byte_of_a_folders_name_and_ends_no_id() -> None:
    rule = {
        "_id": d.label_rule_id(d.new_uuid()),
        "type": "label_rule",
        "node_id": NODE,
        "path_prefix": "/a\nb/",
        "labels": ["x"],
        "name": "x",
        "created_at": TIME,
    }
    d.validate(rule)
    schema = d.json_schema("label_rule")
    jsonschema.validate(rule, schema)
    wrong = {"node_id": f"{NODE}\n", "path_prefix": "/a/\n", "created_at": f"{TIME}\n"}
    for field, value in wrong.items():
        with pytest.raises(InvalidDocument) as raised:
            d.validate({**rule, field: value})
        assert raised.value.field == field
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**rule, field: value}, schema)
    with pytest.raises(UserError):
        d.parse_canonical(f"{TIME}\n")


def test_the_schemas_refuse_what_the_types_refuse() -> None:
    schema = d.json_schema("file")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(file_document(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(file_document(size=-1), schema)
