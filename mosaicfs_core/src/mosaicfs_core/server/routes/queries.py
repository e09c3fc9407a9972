"""Questions to the plugins of all machines: ``/api/query`` and ``/api/widgets``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import NotAllowed
from mosaicfs_core.hooks import DASHBOARD_WIDGET
from mosaicfs_core.server.couch.answers import stream_answer
from mosaicfs_core.server.listing import NoQuery, json_answer
from mosaicfs_core.server.queries import EnvelopeAnswer, OmittedAnswer, capable_nodes, fan_out
from mosaicfs_core.server.routes.nodes import ask_node
from mosaicfs_core.server.state import principal, state
from mosaicfs_core.server.stored import documents_of

blueprint = Blueprint("queries", __name__, url_prefix="/api")

Capability = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}" + END)]
WIDGETS_S: Final = 60.0
"""How long the answers of widgets are good for."""


class Query(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is asked, of every plugin on every machine that answers this capability (``search``, say). ``query`` is text
    or an object that these plugins understand; each may answer with ``limit`` results."""

    capability: Capability
    query: Annotated[str, Meta(max_length=10_000)] | dict[str, Any]
    limit: Annotated[int, Meta(ge=1, le=500)] = 20


class QueryAnswer(msgspec.Struct, kw_only=True):
    """An envelope for each instance that answered, and who did not: too late, failing, or on a machine that is off."""

    capability: str
    results: list[EnvelopeAnswer]
    omitted: list[OmittedAnswer]


class WidgetsAnswer(msgspec.Struct, kw_only=True):
    """The figures that plugins show, ``data`` of each with a ``status``; at most a minute old."""

    items: list[EnvelopeAnswer]
    omitted: list[OmittedAnswer]


@dataclass
class _Widgets:
    """The last answer, and when it was given."""

    at: float = -WIDGETS_S
    answer: WidgetsAnswer = field(default_factory=lambda: WidgetsAnswer(items=[], omitted=[]))


@blueprint.post("/query")
@validate_request(Query)
@document_response(QueryAnswer)
async def query(data: Query) -> Response:
    """Ask the plugins of all machines at once. An answer that does not come within 5 seconds is left out, and named.

    With ``Accept: text/event-stream`` the answers come as they are there: events ``envelope`` and ``omitted`` as in the
    JSON answer, then ``done``.
    """
    answers = _ask(msgspec.to_builtins(data))
    if "text/event-stream" in request.headers.get("Accept", ""):
        return stream_answer(request, _events(answers), state().streams, "text/event-stream")
    results, omitted = await _gathered(answers)
    return json_answer(QueryAnswer(capability=data.capability, results=results, omitted=omitted))


@blueprint.post("/agent/query")
@validate_request(Query)
@document_response(QueryAnswer)
async def agent_query(data: Query) -> Response:
    """Ask this machine's plugins alone: for other machines, whose requests are signed by their keys."""
    server = state()
    if principal().kind != "node":
        raise NotAllowed("only an enrolled node's own key opens this; ask POST /api/query")
    answers = fan_out(server.core.store, [server.core.node_id], ask_plugins, msgspec.to_builtins(data))
    results, omitted = await _gathered(answers)
    return json_answer(QueryAnswer(capability=data.capability, results=results, omitted=omitted))


@blueprint.get("/widgets")
@validate_querystring(NoQuery)
@document_response(WidgetsAnswer)
async def widgets(query_args: NoQuery) -> Response:
    """Show the figures of plugins that have some, at most a minute old."""
    kept: _Widgets = state().kept.setdefault("widgets", _Widgets())
    if time.monotonic() - kept.at > WIDGETS_S:
        items, omitted = await _gathered(_ask({"capability": DASHBOARD_WIDGET, "query": "", "limit": 1}))
        kept.at, kept.answer = time.monotonic(), WidgetsAnswer(items=items, omitted=omitted)
    return json_answer(kept.answer)


async def ask_plugins(node_id: str, params: Mapping[str, Any], timeout: float) -> Any:
    """Ask the plugins of a node."""
    return await ask_node(node_id, "query", params, timeout)


def _ask(params: Mapping[str, Any]) -> AsyncIterator[EnvelopeAnswer | OmittedAnswer]:
    async def answers() -> AsyncIterator[EnvelopeAnswer | OmittedAnswer]:
        store = state().core.store
        nodes = capable_nodes(await documents_of(store, "node"), params["capability"])
        async for answer in fan_out(store, nodes, ask_plugins, params):
            yield answer

    return answers()


async def _gathered(
    answers: AsyncIterator[EnvelopeAnswer | OmittedAnswer],
) -> tuple[list[EnvelopeAnswer], list[OmittedAnswer]]:
    results: list[EnvelopeAnswer] = []
    omitted: list[OmittedAnswer] = []
    async for answer in answers:
        if isinstance(answer, EnvelopeAnswer):
            results.append(answer)
        else:
            omitted.append(answer)
    order = sorted(results, key=lambda one: (one.node_id, one.plugin_name))
    return order, sorted(omitted, key=lambda one: (one.node_id, one.plugin_name or ""))


async def _events(answers: AsyncIterator[EnvelopeAnswer | OmittedAnswer]) -> AsyncIterator[bytes]:
    async for answer in answers:
        name = "envelope" if isinstance(answer, EnvelopeAnswer) else "omitted"
        yield b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(answer) + b"\n\n"
    yield b"event: done\ndata: {}\n\n"
