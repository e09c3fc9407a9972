"""Questions to the plugins of this node: every working instance that answers a capability, at once, each within the
time there is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import QUERY_TIMEOUT_S, Endpoint, QueryRequest, ResultEnvelope, RunningPlugin

MOST_TEXT: Final = 4000


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a node."""

    capability: str
    query: str | dict[str, Any]
    limit: int = 20
    timeout_s: float = QUERY_TIMEOUT_S


class Omitted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did not answer, and why in a sentence. ``plugin_name`` is absent where it is the whole node; ``since`` is
    there for an instance that has not been able to answer for some time."""

    node_id: str
    reason: str
    plugin_name: str | None = None
    since: str | None = None


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What the instances of a node said, and which of them did not."""

    envelopes: tuple[ResultEnvelope, ...] = ()
    omitted: tuple[Omitted, ...] = ()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that can be asked. ``waiting`` and ``syncing`` are those of its envelope."""

    name: str
    package: str
    endpoint: Endpoint
    waiting: int = 0
    syncing: bool = False


async def ask_all(node_id: str, question: Question, asked: Mapping[Asked, RunningPlugin]) -> Answers:
    """Ask each of these instances."""
    outcomes = await asyncio.gather(*(_ask(node_id, question, one, running) for one, running in asked.items()))
    return Answers(
        envelopes=tuple(outcome for outcome in outcomes if isinstance(outcome, ResultEnvelope)),
        omitted=tuple(outcome for outcome in outcomes if isinstance(outcome, Omitted)),
    )


async def _ask(node_id: str, question: Question, asked: Asked, running: RunningPlugin) -> ResultEnvelope | Omitted:
    request = QueryRequest(
        capability=question.capability,
        endpoint=asked.endpoint.name,
        query=question.query,
        limit=question.limit,
        timeout_s=question.timeout_s,
    )
    begun = time.monotonic()
    try:
        envelope = await running.query(request)
    except (PluginError, Unavailable) as error:
        return Omitted(node_id=node_id, plugin_name=asked.name, reason=error.message[:MOST_TEXT])
    try:
        answer = _checked(envelope)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.DecodeError) as error:
        return Omitted(node_id=node_id, plugin_name=asked.name, reason=f"It answered wrongly: {error}"[:MOST_TEXT])
    return msgspec.structs.replace(
        answer,
        # A plugin that does not keep to the limit must not fill the answer of all.
        results=answer.results[: question.limit],
        description=answer.description or asked.endpoint.description,
        node_id=node_id,
        plugin_name=asked.name,
        package=asked.package,
        capability=question.capability,
        took_ms=round((time.monotonic() - begun) * 1000, 3),
        # What was given to the plugin it may have lost since, and says so itself.
        waiting=asked.waiting + max(0, answer.waiting),
        syncing=asked.syncing or answer.syncing,
    )


def _checked(envelope: ResultEnvelope) -> ResultEnvelope:
    """An envelope that is what it says, also inside, and can go on as JSON beside those of others: structs check
    nothing when they are made. Raises what msgspec does."""
    return msgspec.json.decode(msgspec.json.encode(envelope), type=ResultEnvelope)
