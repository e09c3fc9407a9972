"""The namespace's values as the API shows them: short ids, times as text, nothing of the store's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from quart import Response

from mosaicfs_core.documents.times import format_time
from mosaicfs_core.hooks import FileAnswer, StepOp
from mosaicfs_core.rules.tree import Tree, ancestry
from mosaicfs_core.store import FileRow
from mosaicfs_vfs.namespace import DERIVED_INODES, Entry, Listing
from mosaicfs_vfs.namespace.explain import Explanation
from mosaicfs_vfs.namespace.preview import Preview
from mosaicfs_vfs.namespace.unknown import unknown_keys, unknown_nodes

_SHOWN: Final = ("steps", "default_result", "enforce_steps_on_children", "mounts")


class EntryAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One name in a directory. ``derived`` directories exist because files do: they have no document and no inode that
    a browser can hold. ``mtime`` is absent where there is none."""

    name: str
    path: str
    kind: str
    inode: int | None = None
    size: int = 0
    mtime: str | None = None
    derived: bool = False
    file: FileAnswer | None = None


class ListingAnswer(msgspec.Struct, kw_only=True):
    """A directory and a slice of its entries, by name. ``warnings`` are about steps that are skipped."""

    path: str
    inode: int | None
    derived: bool
    warnings: list[str]
    items: list[EntryAnswer]
    total: int
    offset: int
    limit: int


class TreeAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A directory with the directories in it. ``files`` counts the files directly in it; ``children`` is absent below
    the depth asked for, ``more`` is true where something was left out."""

    name: str
    path: str
    derived: bool
    files: int
    children: list[TreeAnswer] | None = None
    more: bool = False


class InheritedAnswer(msgspec.Struct, kw_only=True):
    """A chain that a directory above imposes."""

    path: str
    steps: list[dict[str, Any]]
    default_result: str


class DirectoryAnswer(msgspec.Struct, kw_only=True):
    """A virtual directory's document. ``inherited_steps`` are imposed from above; ``warnings`` name steps that are
    skipped, and keys and nodes that nobody knows.
    """

    path: str
    name: str
    parent_path: str | None
    inode: int
    system: bool
    created_at: str
    steps: list[dict[str, Any]]
    default_result: str
    enforce_steps_on_children: bool
    mounts: list[dict[str, Any]]
    inherited_steps: list[InheritedAnswer]
    warnings: list[str]


class MatchAnswer(msgspec.Struct, kw_only=True):
    """A file that a draft would show, the path it would have, and the mount it comes by."""

    path: str
    mount_id: str
    file: FileAnswer


class PreviewAnswer(msgspec.Struct, kw_only=True):
    """The first matches. ``total`` is exact up to 1,000; beyond that ``more`` is true."""

    items: list[MatchAnswer]
    total: int
    offset: int
    limit: int
    more: bool
    warnings: list[str]


def file_answer(row: FileRow) -> FileAnswer:
    """A file."""
    return FileAnswer.of(row.record())


def entry_answer(entry: Entry) -> EntryAnswer:
    """An entry of a listing."""
    return EntryAnswer(
        name=entry.name,
        path=entry.path,
        kind=entry.kind,
        inode=_browser_inode(entry.inode),
        size=entry.size,
        mtime=format_time(entry.mtime) if entry.mtime else None,
        derived=entry.derived,
        file=None if entry.file is None else file_answer(entry.file),
    )


def listing_answer(listing: Listing, offset: int, limit: int) -> ListingAnswer:
    """A slice of a listing."""
    return ListingAnswer(
        path=listing.path,
        inode=_browser_inode(listing.inode),
        derived=listing.derived,
        warnings=list(listing.warnings),
        items=[entry_answer(entry) for entry in listing.entries[offset : offset + limit]],
        total=len(listing.entries),
        offset=offset,
        limit=limit,
    )


def directory_answer(
    document: Mapping[str, Any], tree: Tree, ops: Mapping[str, StepOp], nodes: Collection[str]
) -> DirectoryAnswer:
    """A directory's document, with what it inherits and what is odd about it. ``nodes`` are those that there are."""
    path = document["virtual_path"]
    inherited = [
        InheritedAnswer(
            path=above,
            steps=list(directory.document.get("steps") or ()),
            default_result=directory.document.get("default_result") or "include",
        )
        for above in ancestry(path)[:-1]
        if (directory := tree.directories.get(above)) is not None
        and directory.document.get("enforce_steps_on_children")
    ]
    mounts = list(document.get("mounts") or ())
    warnings = [warning for mount in tree.mounts_of(path, mounts) for warning in mount.warnings]
    return DirectoryAnswer(
        path=path,
        name=document["name"],
        parent_path=document.get("parent_path"),
        inode=document["inode"],
        system=bool(document.get("system")),
        created_at=document["created_at"],
        steps=list(document.get("steps") or ()),
        default_result=document.get("default_result") or "include",
        enforce_steps_on_children=bool(document.get("enforce_steps_on_children")),
        mounts=mounts,
        inherited_steps=inherited,
        warnings=list(dict.fromkeys([*warnings, *unknown_keys(document, ops), *unknown_nodes(mounts, nodes)])),
    )


def preview_answer(preview: Preview, limit: int) -> PreviewAnswer:
    """A preview."""
    items = [MatchAnswer(path=one.path, mount_id=one.mount_id, file=file_answer(one.file)) for one in preview.items]
    return PreviewAnswer(
        items=items, total=preview.total, offset=0, limit=limit, more=preview.more, warnings=list(preview.warnings)
    )


def explanation_answer(explanation: Explanation) -> dict[str, Any]:
    """An explanation; its parts are plain values but for the file."""
    body: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(explanation, file=None))
    del body["places"]  # how the answer was found, not what it is
    body["file"] = None if explanation.file is None else msgspec.to_builtins(file_answer(explanation.file))
    return body


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(msgspec.json.encode(value), status=status, headers=dict(headers or {}), mimetype="application/json")


def _browser_inode(inode: int) -> int | None:
    return inode if inode < DERIVED_INODES else None
