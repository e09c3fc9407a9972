"""How full a node's disks were: ``GET /api/nodes/{id}/utilization``."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring

from mosaicfs_core.documents import times
from mosaicfs_core.server.listing import Paging, json_answer, page_of
from mosaicfs_core.server.routes.nodes import get_node_document
from mosaicfs_core.server.state import state
from mosaicfs_core.store import Reader

blueprint = Blueprint("utilization", __name__, url_prefix="/api/nodes")

MAX_DAYS: Final = 366
HOURS_A_DAY: Final = 24


class Since(Paging, kw_only=True, forbid_unknown_fields=True):
    """How far back to look."""

    days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] = 7


class Snapshot(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How full each filesystem (bytes, and inodes where they are counted) and a cloud account was at a moment."""

    captured_at: str
    filesystems: list[dict[str, Any]] = []
    cloud: dict[str, Any] | None = None


class SnapshotsAnswer(msgspec.Struct, kw_only=True):
    """A slice of the snapshots, one an hour, the newest first."""

    items: list[Snapshot]
    total: int
    offset: int
    limit: int


@blueprint.get("/<node_id>/utilization")
@validate_querystring(Since)
@document_response(SnapshotsAnswer)
async def get_utilization(node_id: str, query_args: Since) -> Response:
    """Show how full the filesystems of a node were, hour by hour, the newest first."""
    await get_node_document(node_id)
    oldest = times.format_time(times.now_micros() - query_args.days * times.MICROS_PER_DAY)
    most = query_args.days * HOURS_A_DAY + 1

    def read(reader: Reader) -> list[dict[str, Any]]:
        found = reader.documents_of("utilization_snapshot", (node_id,), newest_first=True, limit=most)
        return [one for one in found if one["captured_at"] >= oldest]

    found = [
        {name: one[name] for name in Snapshot.__struct_fields__ if name in one}
        for one in await state().core.store.read(read)
    ]
    return json_answer(page_of(found, query_args))
