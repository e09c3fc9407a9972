"""A question to the plugins of all machines: asked at once, each with the same time to answer, the answers as they
come, and everybody named who did not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from mosaicfs_core.errors import MosaicError, UserError
from mosaicfs_core.hooks import QUERY_TIMEOUT_S, FileAnswer, Fragment, Hit, ResultEnvelope
from mosaicfs_core.store import FileRow, Reader, Store
from mosaicfs_core.supervision import end_tasks

GRACE_S: Final = 1.0
"""What the way to a node and back may take beyond the time its plugins have."""
Ask: TypeAlias = Callable[[str, Mapping[str, Any], float], Awaitable[Any]]
"""Asks a node: its id, the params of ``query``, and seconds. Raises a ``MosaicError``."""


class HitAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A result: the file it is about, as the index knows it, what the plugin says of it, and pieces of its text.
    ``highlights`` are pairs of offsets into the text of a fragment, in characters."""

    file_id: str | None = None
    score: float | None = None
    fragments: list[Fragment] = []
    data: dict[str, Any] = {}
    file: FileAnswer | None = None


class EnvelopeAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one instance on one node answered, best first. ``waiting`` files are not at the plugin yet as they are now,
    so that the answer may lack them; while it is ``syncing`` there may be more."""

    node_id: str
    plugin_name: str
    package: str
    capability: str
    took_ms: float
    results: list[HitAnswer]
    description: str = ""
    data: dict[str, Any] = {}
    waiting: int = 0
    syncing: bool = False


class OmittedAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who did not answer (the whole node when no ``plugin_name`` is there), and why. ``since`` is there for an instance
    that has not been able to answer for some time: its process is down, say."""

    node_id: str
    reason: str
    plugin_name: str | None = None
    since: str | None = None


class _Told(msgspec.Struct, frozen=True):
    """What a node answers to ``query``."""

    envelopes: tuple[ResultEnvelope, ...] = ()
    omitted: tuple[OmittedAnswer, ...] = ()


def capable_nodes(documents: Sequence[Mapping[str, Any]], capability: str) -> list[str]:
    """The nodes that are there to answer this, as they said last, by id: those that are off included, and those whose
    instance cannot at present, which say so themselves (or answer, when it has come back since)."""
    return sorted(
        str(document["node_id"])
        for document in documents
        if document.get("status") != "disabled" and capability in _meant_to_answer(document)
    )


def _meant_to_answer(document: Mapping[str, Any]) -> set[str]:
    """What a node can be asked, or could if all that is switched on there worked. Those of before say less."""
    return {*document.get("capabilities", ()), *(one["capability"] for one in document.get("lacking", ()))}


async def fan_out(
    store: Store,
    nodes: Sequence[str],
    ask: Ask,
    params: Mapping[str, Any],
    timeout_s: float = QUERY_TIMEOUT_S,
) -> AsyncGenerator[EnvelopeAnswer | OmittedAnswer, None]:
    """Ask these nodes at once; answers and omissions as they come."""
    tasks = {asyncio.create_task(_one(ask, node_id, params, timeout_s)): node_id for node_id in nodes}
    seen: dict[str, set[str]] = {}
    try:
        for done in asyncio.as_completed(tasks):
            told = await done
            for envelope in told.envelopes:
                yield await store.read(partial(_shown, envelope=envelope, seen=seen))
            for omitted in told.omitted:
                yield omitted
    finally:
        await end_tasks(*tasks)


async def _one(ask: Ask, node_id: str, params: Mapping[str, Any], timeout_s: float) -> _Told:
    try:
        async with asyncio.timeout(timeout_s + GRACE_S):
            answer = await ask(node_id, {**params, "timeout_s": timeout_s}, timeout_s + GRACE_S)
        return msgspec.convert(answer, _Told)
    except TimeoutError:
        return _left_out(node_id, f"it did not answer within {timeout_s:g} s")
    except MosaicError as error:
        return _left_out(node_id, error.message)
    except msgspec.ValidationError as error:
        return _left_out(node_id, f"it answered something else: {error}")


def _left_out(node_id: str, reason: str) -> _Told:
    return _Told(omitted=(OmittedAnswer(node_id=node_id, reason=reason),))


def _shown(reader: Reader, envelope: ResultEnvelope, seen: dict[str, set[str]]) -> EnvelopeAnswer:
    """An envelope with the facts of its files. What another node has named already for the same package, as nodes that
    share a search server do, is left out; so is a file that is not there any more."""
    known = seen.setdefault(envelope.package, set())
    results = []
    for hit in envelope.results:
        if hit.file_id is None:
            results.append(_hit(hit, None))
            continue
        row = None if hit.file_id in known else _row(reader, hit.file_id)
        if row is not None and row.status == "active":
            known.add(hit.file_id)
            results.append(_hit(hit, FileAnswer.of(row.record())))
    return EnvelopeAnswer(
        node_id=envelope.node_id,
        plugin_name=envelope.plugin_name,
        package=envelope.package,
        capability=envelope.capability,
        took_ms=envelope.took_ms,
        description=envelope.description,
        results=results,
        data=dict(envelope.data),
        waiting=envelope.waiting,
        syncing=envelope.syncing,
    )


def _row(reader: Reader, file_id: str) -> FileRow | None:
    try:
        return reader.file_by_id(file_id)
    except UserError:  # what the plugin gave is no id of a file
        return None


def _hit(hit: Hit, file: FileAnswer | None) -> HitAnswer:
    return HitAnswer(
        file_id=hit.file_id, score=hit.score, fragments=list(hit.fragments), data=dict(hit.data), file=file
    )
