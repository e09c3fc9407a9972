"""The virtual tree over HTTP: ``/api/vfs…``, and the two questions about files that only the tree can answer."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response, request
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents.paths import join, normalize_virtual, parent_of
from mosaicfs_core.errors import NotFound, UserError
from mosaicfs_core.hooks import FileAnswer, etag_matches, etag_of, require_fresh
from mosaicfs_vfs.answers import (
    DirectoryAnswer,
    ListingAnswer,
    PreviewAnswer,
    TreeAnswer,
    directory_answer,
    explanation_answer,
    file_answer,
    json_answer,
    listing_answer,
    preview_answer,
)
from mosaicfs_vfs.directories import Directories
from mosaicfs_vfs.meant import listing_at
from mosaicfs_vfs.namespace import Namespace
from mosaicfs_vfs.service import NamespaceService
from mosaicfs_vfs.walk import tree_answer

MAX_PAGE: Final = 500

Path = Annotated[str, Meta(min_length=1, max_length=65_536, description="A virtual path: absolute, `/`-separated.")]
Steps = Annotated[list[dict[str, Any]], Meta(max_length=200, description="A chain of filter steps.")]
Mounts = Annotated[list[dict[str, Any]], Meta(max_length=500, description="The sources of files.")]
Verdict = Literal["include", "exclude"]


class PathQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which directory."""

    path: Path


class ListQuery(PathQuery, kw_only=True, forbid_unknown_fields=True):
    """Which directory, and which slice of its entries."""

    path: Path = "/"
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100
    offset: Annotated[int, Meta(ge=0, lt=2**31)] = 0


class TreeQuery(PathQuery, kw_only=True, forbid_unknown_fields=True):
    """Which directory, and how deep."""

    path: Path = "/"
    depth: Annotated[int, Meta(ge=1, le=10)] = 3


class ForceQuery(PathQuery, kw_only=True, forbid_unknown_fields=True):
    """Which directory; ``force`` removes the directories in it as well."""

    force: bool = False


class ExplainQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to explain: a path (virtual, or on a node), a path on a node alone, a file, or a file at a path."""

    path: Path | None = None
    export_path: Path | None = None
    file_id: Annotated[str, Meta(max_length=300)] | None = None


class DirectoryFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a user sets of a directory. ``steps`` filter its own mounts, and those below it when they are enforced."""

    steps: Steps | UnsetType | None = UNSET
    default_result: Verdict | UnsetType | None = UNSET
    enforce_steps_on_children: bool | UnsetType = UNSET
    mounts: Mounts | UnsetType = UNSET


class NewDirectory(DirectoryFields, kw_only=True, forbid_unknown_fields=True):
    """A directory to make; ``parents`` makes what is missing above it."""

    path: Path
    parents: bool = False


class DirectoryChange(DirectoryFields, kw_only=True, forbid_unknown_fields=True):
    """What to change: ``path`` moves it, ``name`` renames it where it is, with all that is beneath."""

    path: Path | UnsetType = UNSET
    name: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType = UNSET


class Draft(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Mounts that are not saved yet."""

    mounts: Mounts
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100


class Removed(msgspec.Struct, kw_only=True):
    """The paths that are gone."""

    removed: list[str]


class PathsAnswer(msgspec.Struct, kw_only=True):
    """Where the tree shows a file."""

    items: list[str]
    total: int
    offset: int
    limit: int


def make_blueprint(service: NamespaceService, directories: Directories) -> Blueprint:
    """The blueprint over these services."""
    blueprint = Blueprint("vfs", __name__, url_prefix="/api")
    _add_reading(blueprint, service)
    _add_asking(blueprint, service)
    _add_directories(blueprint, service, directories)
    _add_changes(blueprint, service, directories)
    _add_files(blueprint, service)
    return blueprint


def _add_reading(blueprint: Blueprint, service: NamespaceService) -> None:
    @blueprint.get("/vfs")
    @validate_querystring(ListQuery)
    @document_response(ListingAnswer)
    async def list_directory(query_args: ListQuery) -> Response:
        """List a directory of the virtual tree."""
        listing = await service.run(lambda namespace: listing_at(namespace, query_args.path))
        return json_answer(listing_answer(listing, query_args.offset, query_args.limit))

    @blueprint.get("/vfs/tree")
    @validate_querystring(TreeQuery)
    @document_response(TreeAnswer)
    async def show_tree(query_args: TreeQuery) -> Response:
        """Show the directories beneath a directory, some levels deep."""
        return json_answer(
            await service.run(lambda namespace: tree_answer(namespace, query_args.path, query_args.depth))
        )


def _add_asking(blueprint: Blueprint, service: NamespaceService) -> None:
    @blueprint.post("/vfs/preview")
    @validate_querystring(PathQuery)
    @validate_request(Draft)
    @document_response(PreviewAnswer)
    async def preview(query_args: PathQuery, data: Draft) -> Response:
        """Show what unsaved mounts of a directory would show, and how many files that would be."""
        found = await service.run(lambda namespace: namespace.preview(query_args.path, data.mounts, data.limit))
        return json_answer(preview_answer(found, data.limit))

    @blueprint.get("/vfs/explain")
    @validate_querystring(ExplainQuery)
    async def explain(query_args: ExplainQuery) -> Response:
        """Explain why a file is shown where it is, or why it is not: every mount that covers it, chain by chain."""
        live = service.live_statuses()
        asked = partial(
            Namespace.explain,
            path=query_args.path,
            file_id=query_args.file_id,
            export_path=query_args.export_path,
            live=live,
        )
        found = await service.run(asked)
        return json_answer(explanation_answer(await service.with_disk(found)))


async def _shown(
    service: NamespaceService, directories: Directories, document: dict[str, Any], status: int = 200
) -> Response:
    """A directory's document with its entity tag."""
    body = await service.run(
        lambda namespace: directory_answer(document, namespace.tree, directories.ops, namespace.node_ids())
    )
    return json_answer(body, status, {"ETag": etag_of(document), "Cache-Control": "private, no-cache"})


def _add_directories(blueprint: Blueprint, service: NamespaceService, directories: Directories) -> None:
    @blueprint.post("/vfs/directories")
    @validate_request(NewDirectory)
    @document_response(DirectoryAnswer, 201)
    async def create_directory(data: NewDirectory) -> Response:
        """Make a virtual directory."""
        path = normalize_virtual(data.path)
        shown = await service.run(partial(_is_directory, path=parent_of(path)))
        document = await directories.create(path, _given(data), parents=data.parents, parent_shown=shown)
        await service.shown_by_mounts()
        return await _shown(service, directories, document, 201)

    @blueprint.get("/vfs/directory")
    @validate_querystring(PathQuery)
    @document_response(DirectoryAnswer)
    async def get_directory(query_args: PathQuery) -> Response:
        """Show a virtual directory's document: its mounts and steps."""
        document = await directories.get(normalize_virtual(query_args.path))
        if etag_matches(request.headers.get("If-None-Match"), etag_of(document), weak=True):
            return Response(b"", status=304, headers={"ETag": etag_of(document)})
        return await _shown(service, directories, document)


def _add_changes(blueprint: Blueprint, service: NamespaceService, directories: Directories) -> None:
    @blueprint.patch("/vfs/directory")
    @validate_querystring(PathQuery)
    @validate_request(DirectoryChange)
    @document_response(DirectoryAnswer)
    async def change_directory(query_args: PathQuery, data: DirectoryChange) -> Response:
        """Change a virtual directory's mounts or steps, or rename it with all beneath; inodes stay."""
        path = normalize_virtual(query_args.path)
        target = _target(path, data)
        check = partial(require_fresh, request.headers.get("If-Match"))
        if target is None or target == path:
            changed = await directories.change(path, _given(data), check)
        else:
            shown = await service.run(partial(_is_directory, path=parent_of(target)))
            changed = await directories.rename(path, target, _given(data), check, parent_shown=shown)
        await service.shown_by_mounts()
        return await _shown(service, directories, changed)

    @blueprint.delete("/vfs/directory")
    @validate_querystring(ForceQuery)
    @document_response(Removed)
    async def remove_directory(query_args: ForceQuery) -> Response:
        """Remove a virtual directory; files stay where they are. One that holds others needs ``force``."""
        path = normalize_virtual(query_args.path)
        check = partial(require_fresh, request.headers.get("If-Match"))
        removed = await directories.remove(path, check, force=query_args.force)
        await service.shown_by_mounts()
        return json_answer(Removed(removed=removed))


def _add_files(blueprint: Blueprint, service: NamespaceService) -> None:
    @blueprint.get("/files/by-path")
    @validate_querystring(PathQuery)
    @document_response(FileAnswer)
    async def file_by_path(query_args: PathQuery) -> Response:
        """Show the file at a virtual path."""
        entry = await service.run(lambda namespace: namespace.resolve(query_args.path))
        if entry.file is None:
            raise NotFound(f"{query_args.path} is a directory, not a file", path=query_args.path)
        return json_answer(file_answer(entry.file))

    @blueprint.get("/files/<file_id>/paths")
    @document_response(PathsAnswer)
    async def paths_of_file(file_id: str) -> Response:
        """List where the virtual tree shows a file."""
        paths = list(await service.run(lambda namespace: namespace.paths_of(file_id)))
        return json_answer(PathsAnswer(items=paths, total=len(paths), offset=0, limit=len(paths)))


def _given(data: DirectoryFields) -> dict[str, Any]:
    fields = (field.name for field in msgspec.structs.fields(DirectoryFields))
    return {name: value for name in fields if (value := getattr(data, name)) is not UNSET}


def _target(path: str, data: DirectoryChange) -> str | None:
    if data.path is not UNSET and data.name is not UNSET:
        raise UserError("name: expected either path or name, got both", field="name")
    if data.path is not UNSET:
        return normalize_virtual(data.path)
    if data.name is UNSET:
        return None
    if "/" in data.name or data.name in (".", ".."):
        raise UserError(f"name: {data.name!r} is not a plain name", field="name")
    return normalize_virtual(join(parent_of(path), data.name))


def _is_directory(namespace: Namespace, path: str) -> bool:
    try:
        namespace.list(path)
    except NotFound:
        return False
    return True
