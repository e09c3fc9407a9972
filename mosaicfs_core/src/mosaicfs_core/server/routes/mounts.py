"""Network mounts (``/api/nodes/{id}/mounts``): where a node sees another one's files through NFS, SMB, SSHFS or a
folder that a cloud client keeps, so that their bytes need not be fetched."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents import ids, paths
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import Conflict, NotFound, UserError
from mosaicfs_core.hooks import etag_of
from mosaicfs_core.server.link.asking import MISSING
from mosaicfs_core.server.listing import ListAnswer, Paging, document_answer, json_answer, page_of
from mosaicfs_core.server.routes.nodes import get_node_document
from mosaicfs_core.server.state import state
from mosaicfs_core.server.stored import replace

blueprint = Blueprint("mounts", __name__, url_prefix="/api/nodes")

MISSING_MOUNT: Final = "this node has no such network mount"
MAX_MOUNTS: Final = 100
AbsolutePath = Annotated[str, Meta(pattern="^/", max_length=4096)]
MountType = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,31}" + END, description="nfs, cifs, sshfs, gdrive_local, …")]
Priority = Annotated[int, Meta(ge=-1000, le=1000, description="The mount with the higher one is tried first.")]


class NewMount(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A mount: what lies under ``remote_base_export_path`` on the node ``remote_node_id`` is seen on this node under
    ``local_mount_path``."""

    remote_node_id: Annotated[str, Meta(pattern=f"^{ids.NODE_ID_PATTERN}{END}")]
    remote_base_export_path: AbsolutePath
    local_mount_path: AbsolutePath
    mount_type: MountType
    priority: Priority = 0


class MountChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a mount."""

    remote_node_id: Annotated[str, Meta(pattern=f"^{ids.NODE_ID_PATTERN}{END}")] | UnsetType = UNSET
    remote_base_export_path: AbsolutePath | UnsetType = UNSET
    local_mount_path: AbsolutePath | UnsetType = UNSET
    mount_type: MountType | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET


class MountAnswer(msgspec.Struct, kw_only=True):
    """A network mount of a node."""

    id: str
    remote_node_id: str
    remote_base_export_path: str
    local_mount_path: str
    mount_type: str
    priority: int


class RemovedMount(msgspec.Struct, kw_only=True):
    """It is gone; files are fetched in other ways."""

    removed: str


@blueprint.get("/<node_id>/mounts")
@validate_querystring(Paging)
@document_response(ListAnswer)
async def list_mounts(node_id: str, query_args: Paging) -> Response:
    """List the network mounts of a node."""
    document = await get_node_document(node_id)
    found = [_body(mount) for mount in document.get("network_mounts") or ()]
    return json_answer(page_of(found, query_args), headers={"ETag": etag_of(document)})


@blueprint.post("/<node_id>/mounts")
@validate_request(NewMount)
@document_response(MountAnswer, 201)
async def create_mount(node_id: str, data: NewMount) -> Response:
    """Tell a node of a network mount that it has."""
    made = {"mount_id": ids.new_uuid(), **_checked(msgspec.to_builtins(data))}
    await _check_remote(node_id, made)

    def add(document: dict[str, Any]) -> dict[str, Any]:
        present = list(document.get("network_mounts") or ())
        if len(present) >= MAX_MOUNTS:
            raise Conflict(f"a node has at most {MAX_MOUNTS} network mounts")
        return _with(document, [*present, made])

    document = await replace(state().core.store, ids.node_document_id(node_id), add, MISSING)
    return document_answer(document, _body(made), 201)


@blueprint.patch("/<node_id>/mounts/<mount_id>")
@validate_request(MountChange)
@document_response(MountAnswer)
async def change_mount(node_id: str, mount_id: str, data: MountChange) -> Response:
    """Change a network mount."""
    given = {field: getattr(data, field) for field in MountChange.__struct_fields__}
    changes = _checked({field: value for field, value in given.items() if value is not UNSET})
    await _check_remote(node_id, changes)

    def change(document: dict[str, Any]) -> dict[str, Any] | None:
        present = list(document.get("network_mounts") or ())
        number = _position(present, mount_id)
        changed = {**present[number], **changes}
        if changed == present[number]:
            return None
        return _with(document, [*present[:number], changed, *present[number + 1 :]])

    document = await replace(state().core.store, ids.node_document_id(node_id), change, MISSING)
    mounts = document["network_mounts"]
    return document_answer(document, _body(mounts[_position(mounts, mount_id)]))


@blueprint.delete("/<node_id>/mounts/<mount_id>")
@document_response(RemovedMount)
async def remove_mount(node_id: str, mount_id: str) -> Response:
    """Forget a network mount. Nothing is unmounted."""

    def remove(document: dict[str, Any]) -> dict[str, Any]:
        present = list(document.get("network_mounts") or ())
        number = _position(present, mount_id)
        return _with(document, [*present[:number], *present[number + 1 :]])

    await replace(state().core.store, ids.node_document_id(node_id), remove, MISSING)
    return json_answer(RemovedMount(removed=mount_id))


def _body(mount: dict[str, Any]) -> dict[str, Any]:
    return {"id": mount["mount_id"], **{key: value for key, value in mount.items() if key != "mount_id"}}


def _position(mounts: list[dict[str, Any]], mount_id: str) -> int:
    for number, mount in enumerate(mounts):
        if mount["mount_id"] == mount_id:
            return number
    raise NotFound(MISSING_MOUNT)


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """The fields with their paths in plain form. Raises ``UserError`` for a path that is none."""
    plain = dict(given)
    for field in ("remote_base_export_path", "local_mount_path"):
        if field in plain:
            try:
                plain[field] = paths.normalize_virtual(plain[field])
            except UserError as error:
                raise UserError(f"{field}: {error.message}", field=field) from None
    return plain


async def _check_remote(node_id: str, given: dict[str, Any]) -> None:
    remote = given.get("remote_node_id")
    if remote is None:
        return
    if remote == node_id:
        raise UserError("remote_node_id: a node needs no network mount of itself", field="remote_node_id")
    if await state().core.store.get(ids.node_document_id(remote)) is None:
        raise UserError(f"remote_node_id: there is no node {remote}", field="remote_node_id")


def _with(document: dict[str, Any], mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """The node document with these mounts. Raises ``Conflict`` when two of them are the same."""
    places = [(one["remote_node_id"], one["remote_base_export_path"], one["local_mount_path"]) for one in mounts]
    if len(set(places)) < len(places):
        raise Conflict("this node has a network mount of these folders already")
    return {**document, "network_mounts": mounts, "control_version": document.get("control_version", 0) + 1}
