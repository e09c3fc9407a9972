"""Changes to virtual directory documents: made, checked and named field by field. Pure.

What a user sends is checked whole before anything is written; an error names the place
(``mounts[1].steps[0].pattern``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mosaicfs_core.documents.codec import validate
from mosaicfs_core.documents.ids import derived_inode, directory_document_id, new_uuid
from mosaicfs_core.documents.paths import is_under, join, name_of, normalize_virtual, parent_of
from mosaicfs_core.documents.times import format_time
from mosaicfs_core.errors import InvalidDocument, UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.rules import check_steps
from mosaicfs_vfs.namespace.unknown import unknown_keys

EDITABLE: Final = ("steps", "default_result", "enforce_steps_on_children", "mounts")
"""The fields of a directory that a user sets; its path changes by a rename."""


def new_directory(path: str, now: int, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document of a new directory. ``now`` is microseconds; its inode is the derived one."""
    identifier = directory_document_id(path)
    document: dict[str, Any] = {
        "_id": identifier,
        "type": "virtual_directory",
        "inode": 1 if path == "/" else derived_inode(identifier),
        "virtual_path": path,
        "name": name_of(path),
        "created_at": format_time(now),
        "enforce_steps_on_children": False,
        "mounts": [],
    }
    if path == "/":
        document["system"] = True
    else:
        document["parent_path"] = parent_of(path)
    return with_fields(document, fields or {})


def with_fields(document: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The document with some of ``EDITABLE`` set; None takes a field out. Mounts without an id get one."""
    changed = dict(document)
    for name, value in fields.items():
        if name == "mounts":
            value = [_complete(number, mount) for number, mount in enumerate(value or ())]
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = value
    return changed


def moved(document: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """The document of a directory at or beneath ``old``, as it stands when ``old`` is called ``new``. Its inode
    stays.
    """
    path = join(new, document["virtual_path"][len(old) :].lstrip("/")).rstrip("/")
    kept = {key: value for key, value in document.items() if key not in ("_rev", "_id")}
    return {
        **kept,
        "_id": directory_document_id(path),
        "virtual_path": path,
        "name": name_of(path),
        "parent_path": parent_of(path),
    }


def check_directory(document: Mapping[str, Any], ops: Mapping[str, StepOp]) -> list[str]:
    """Check a document that is about to be stored; sentences about unknown ops and keys.

    Raises ``UserError`` whose detail ``field`` names the place.
    """
    validate(document)
    warnings = _check_steps("", document, ops)
    for number, mount in enumerate(document.get("mounts") or ()):
        field = f"mounts[{number}]"
        warnings += _check_steps(f"{field}.", mount, ops)
        _check_prefix(field, mount)
    return [*warnings, *unknown_keys(document, ops)]


def check_target(path: str) -> str:
    """The plain form of a path at which a directory may be made. Raises ``UserError``."""
    plain = normalize_virtual(path)
    if is_under(plain, "/federation"):
        raise UserError("/federation is reserved: choose another path", field="path")
    return plain


def _check_steps(prefix: str, holder: Mapping[str, Any], ops: Mapping[str, StepOp]) -> list[str]:
    try:
        found = check_steps(holder.get("steps"), holder.get("default_result"), ops)
    except UserError as error:
        field = f"{prefix}{error.details.get('field', 'steps')}"
        raise InvalidDocument(f"{prefix}{error.message}", field=field) from None
    return [f"{prefix}steps[{warning.index}]: {warning.message}" for warning in found]


def _check_prefix(field: str, mount: Mapping[str, Any]) -> None:
    prefix, source = mount.get("source_prefix"), mount["source"]["export_path"]
    if prefix is None:
        return
    if not prefix.startswith("/") or any(part in (".", "..") for part in prefix.split("/")):
        raise InvalidDocument(f"{field}.source_prefix: expected an absolute path", field=f"{field}.source_prefix")
    if not is_under(prefix, source) and not is_under(source, prefix):
        raise InvalidDocument(
            f"{field}.source_prefix: {prefix!r} neither holds {source!r} nor lies under it, so nothing would be shown",
            field=f"{field}.source_prefix",
        )


def _complete(number: int, mount: Any) -> dict[str, Any]:
    """A mount as it is stored: with an id, and with its paths in plain form."""
    if not isinstance(mount, Mapping):
        raise InvalidDocument(f"mounts[{number}]: expected an object", field=f"mounts[{number}]")
    complete = {"mount_id": new_uuid(), **mount}
    source = complete.get("source")
    if isinstance(source, Mapping) and isinstance(source.get("export_path"), str):
        complete["source"] = {**source, "export_path": _plain(source["export_path"])}
    if isinstance(complete.get("source_prefix"), str):
        complete["source_prefix"] = _plain(complete["source_prefix"])
    complete.setdefault("strategy", "prefix_replace")
    complete.setdefault("steps", [])
    complete.setdefault("default_result", "include")
    complete.setdefault("conflict_policy", "last_write_wins")
    return complete


def _plain(path: str) -> str:
    return path.rstrip("/") or path[:1]


def checked_mounts(
    path: str, mounts: Sequence[Mapping[str, Any]], ops: Mapping[str, StepOp]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Draft mounts of a directory as they would be stored, with the warnings. Raises ``UserError`` naming the field."""
    document = new_directory(path, 0, {"mounts": mounts})
    warnings = check_directory(document, ops)
    return document["mounts"], warnings
