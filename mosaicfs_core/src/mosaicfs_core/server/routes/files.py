"""Indexed files and their bytes: ``/api/files``."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from quart_schema import document_response, validate_querystring

from mosaicfs_core.content import ByteSource, Content
from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.standing import number_of
from mosaicfs_core.errors import NotFound, UserError
from mosaicfs_core.hooks import FileAnswer, FileQuery, FileRecord, FilesAnswer
from mosaicfs_core.server.link.relayed import RelayTier
from mosaicfs_core.server.listing import Paging, json_answer
from mosaicfs_core.server.state import principal, state
from mosaicfs_core.server.streaming import content_answer

blueprint = Blueprint("files", __name__, url_prefix="/api/files")


class FileFilter(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which files to list; all conditions hold together."""

    node_id: Annotated[str, Meta(description="Only files of this node.")] | None = None
    status: Annotated[Literal["active", "deleted", "all"], Meta(description="Deleted ones keep their ids.")] = "active"
    mime_type: Annotated[str, Meta(description="A MIME type, or a glob such as image/*.")] | None = None
    path_prefix: Annotated[str, Meta(description="Only files under this export path.")] | None = None
    export_path: Annotated[str, Meta(description="Only the file at this export path.")] | None = None
    cursor: Annotated[str, Meta(max_length=2000, description="Where the last answer ended.")] | None = None


class ContentQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to get the bytes: ``inline`` to show them in a page, ``token`` instead of a key."""

    inline: bool = False
    token: Annotated[str, Meta(max_length=2000)] | None = None


class DownloadToken(msgspec.Struct, kw_only=True):
    """A link to one file's content that works without a key until ``expires_at``."""

    token: str
    url: str
    expires_at: str


def find_file(file_id: str) -> FileRecord:
    """The file with a short id, deleted ones included. Raises ``NotFound``, ``UserError`` for what is no file id."""
    ids.full_file_id(file_id)
    row = state().core.store.reader.file_by_id(file_id)
    if row is None:
        raise NotFound("there is no such file")
    return row.record()


async def files_answer(query: FileFilter) -> Response:
    """The page of files that a query asks for."""
    wanted = FileQuery(
        node_id=query.node_id,
        export_path=query.export_path,
        path_prefix=query.path_prefix,
        mime_type=query.mime_type,
        status=None if query.status == "all" else query.status,
        limit=query.limit,
        offset=query.offset,
        cursor=query.cursor,
    )
    page = await state().core.store.read(lambda reader: reader.search(wanted))
    return json_answer(FilesAnswer.of(page))


@blueprint.get("")
@validate_querystring(FileFilter)
@document_response(FilesAnswer)
async def list_files(query_args: FileFilter) -> Response:
    """List indexed files by node, status, type and place; ``GET search`` finds them by name."""
    return await files_answer(query_args)


@blueprint.get("/<file_id>")
@document_response(FileAnswer)
async def get_file(file_id: str) -> Response:
    """Show one file."""
    return json_answer(FileAnswer.of(find_file(file_id)))


@blueprint.get("/<file_id>/content")
@validate_querystring(ContentQuery)
async def content(file_id: str, query_args: ContentQuery) -> Response:
    """Get a file's bytes: whole or by ``Range`` (one or several), conditionally, as a download or ``inline``."""
    server = state()
    record = find_file(file_id)
    if record.status != "active":
        raise NotFound("the file was deleted")
    # What a node asks for here it cannot reach by itself: it comes straight from its owner, and is kept by the reader.
    asking = principal()
    if asking.kind == "node" and record.node_id == asking.node_id != server.core.node_id:
        raise UserError("this file is your own: it is not sent to you through here")
    relays = asking.kind == "node" and record.node_id != server.core.node_id
    opener = Content([RelayTier(server.relay, server.core.node_id)]) if relays else server.core.content
    source = cast(ByteSource, await opener.open(record))
    return await content_answer(request, record, source, server.streams, inline=query_args.inline)


@blueprint.post("/<file_id>/download-token")
@document_response(DownloadToken, 201)
async def download_token(file_id: str) -> Response:
    """Make a link to the file's content that works without a key for an hour, for players and plain links."""
    record, asking = find_file(file_id), principal().access_key_id or ""
    key = await state().core.store.get(ids.credential_document_id(asking)) if asking else None
    token, expires = state().tokens.issue_download(asking, record.file_id, number_of(key or {}))
    body = DownloadToken(
        token=token,
        url=f"/api/files/{record.file_id}/content?token={token}",
        expires_at=times.format_time(expires * 1_000_000),
    )
    return json_answer(body, 201)
