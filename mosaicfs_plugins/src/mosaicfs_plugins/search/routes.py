"""``/api/search``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from quart import Blueprint, Response, request
from quart_schema import document_querystring, document_response

from mosaicfs_core.hooks import FileRecord, RoutesContext
from mosaicfs_plugins.search.query import SearchParameters, parse_query

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FoundFile(msgspec.Struct, kw_only=True):
    """An indexed file. ``mtime`` is ISO 8601, ``size`` bytes, ``export_path`` its path on its node."""

    id: str
    node_id: str
    export_path: str
    name: str
    size: int
    mtime: str
    inode: int
    mime_type: str | None
    status: str


class SearchAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A slice of what was found. ``total`` is exact up to 1,000; beyond that ``more`` is true. ``cursor`` leads on."""

    items: list[FoundFile]
    total: int
    offset: int
    limit: int
    more: bool = False
    cursor: str | None = None


def found_file(record: FileRecord) -> FoundFile:
    """A file as the API shows it."""
    return FoundFile(
        id=record.file_id,
        node_id=record.node_id,
        export_path=record.export_path,
        name=record.name,
        size=record.size,
        mtime=(_EPOCH + timedelta(0, 0, record.mtime)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        inode=record.inode,
        mime_type=record.mime_type,
        status=record.status,
    )


def make_blueprint(context: RoutesContext) -> Blueprint:
    """The blueprint over a context."""
    blueprint = Blueprint("search", __name__, url_prefix="/api/search")

    @blueprint.get("")
    @document_querystring(SearchParameters)
    @document_response(SearchAnswer)
    async def search() -> Response:
        """Find files by name and facts.

        ``q`` is a part of the name, or a glob over the whole name when it has ``*``, ``?`` or ``[``; case does not
        matter. Labels and annotations must all hold. Beside the parameters listed, ``annotation[plugin/key]=value``
        asks for a plugin's annotation; a value that begins with ``~`` is a regular expression (RE2).
        """
        page = await context.find_files(parse_query(request.args.to_dict(flat=False)))
        answer = SearchAnswer(
            items=[found_file(record) for record in page.items],
            total=page.total,
            offset=page.offset,
            limit=page.limit,
            more=page.more,
            cursor=page.cursor,
        )
        return Response(msgspec.json.encode(answer), mimetype="application/json")

    return blueprint
