"""What plugins said of files: ``/api/annotations``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring

from mosaicfs_core import jobs
from mosaicfs_core.documents import ids
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import MosaicError, UserError
from mosaicfs_core.server.listing import ListAnswer, Paging, json_answer
from mosaicfs_core.server.queries import OmittedAnswer
from mosaicfs_core.server.routes.nodes import ask_node
from mosaicfs_core.server.state import state

blueprint = Blueprint("annotations", __name__, url_prefix="/api")

Instance = Annotated[str, Meta(pattern=f"^{ids.INSTANCE_PATTERN}{END}")]
ExportPath = Annotated[str, Meta(pattern="^/", max_length=8192)]


OfNode = Annotated[str, Meta(description="Only of files of this node.")]
OfFile = Annotated[ExportPath, Meta(description="Only of the file at this export path of the node.")]
OfPlugin = Annotated[Instance, Meta(description="Only what the instance of this name said, on whichever node it is.")]


class AnnotationFilter(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which annotations; all conditions hold together."""

    node_id: OfNode | None = None
    path: OfFile | None = None
    plugin: OfPlugin | None = None


class AnnotationsGone(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which annotations are to go; all conditions hold together, and at least one is needed."""

    node_id: OfNode | None = None
    path: OfFile | None = None
    plugin: OfPlugin | None = None


class AnnotationsDeleted(msgspec.Struct, kw_only=True):
    """How many annotations were taken away, and which nodes could not be asked to, why: theirs are still there."""

    deleted: int
    omitted: list[OmittedAnswer]


@blueprint.get("/annotations")
@validate_querystring(AnnotationFilter)
@document_response(ListAnswer)
async def list_annotations(query_args: AnnotationFilter) -> Response:
    """List what plugins said of files. ``path`` needs ``node_id``."""
    asked = query_args
    index, key = _which(asked.node_id, asked.path, asked.plugin).lookup()
    found, total = await state().core.store.read(
        lambda reader: (
            reader.documents_of(index, key, limit=asked.limit, offset=asked.offset),
            reader.count_of(index, key),
        )
    )
    items = [{name: value for name, value in one.items() if name[0] != "_" and name != "type"} for one in found]
    return json_answer({"items": items, "total": total, "offset": asked.offset, "limit": asked.limit})


@blueprint.delete("/annotations")
@validate_querystring(AnnotationsGone)
@document_response(AnnotationsDeleted)
async def delete_annotations(query_args: AnnotationsGone) -> Response:
    """Take away what plugins said of files, which they are then asked again: of one file (``path`` needs ``node_id``),
    of a node's files, what one instance said (``plugin``), or what all of that is true of.

    An annotation is its annotator's: every node that has such an instance takes away its own, and a node that cannot
    be asked is named.
    """
    which = _which(query_args.node_id, query_args.path, query_args.plugin)
    if which == jobs.WhichAnnotations():
        raise UserError("node_id: say which annotations by node_id, path or plugin", field="node_id")
    instances = await state().core.store.read(lambda reader: reader.documents_of("plugin"))
    nodes = sorted({str(one["node_id"]) for one in instances if _may_have_made(one, which)})
    outcomes = await asyncio.gather(*(_forget(node_id, msgspec.to_builtins(which)) for node_id in nodes))
    answer = AnnotationsDeleted(
        deleted=sum(outcome for outcome in outcomes if isinstance(outcome, int)),
        omitted=[outcome for outcome in outcomes if isinstance(outcome, OmittedAnswer)],
    )
    return json_answer(answer)


def _which(node_id: str | None, path: str | None, plugin: str | None) -> jobs.WhichAnnotations:
    if path is not None and node_id is None:
        raise UserError("node_id: say of which node the path is", field="node_id")
    return jobs.WhichAnnotations(node_id=node_id, path=path, plugin=plugin)


def _may_have_made(instance: Mapping[str, Any], which: jobs.WhichAnnotations) -> bool:
    """Whether an instance may have annotated such a file: most are told of their own node's files alone."""
    of_node = which.node_id in (None, instance["node_id"]) or instance.get("scope") == "instance"
    return of_node and which.plugin in (None, instance["plugin_name"])


async def _forget(node_id: str, params: Mapping[str, Any]) -> int | OmittedAnswer:
    try:
        answer = await ask_node(node_id, "annotations_forget", params)
    except MosaicError as error:
        return OmittedAnswer(node_id=node_id, reason=error.message)
    return int(answer["deleted"])
