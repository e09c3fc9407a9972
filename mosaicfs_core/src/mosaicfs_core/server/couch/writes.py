"""Documents that others send: checked one by one for who may write them, written in batches."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from mosaicfs_core.errors import Conflict, MosaicError, NotAllowed, UserError
from mosaicfs_core.replication import descriptions
from mosaicfs_core.replication.flows import Access
from mosaicfs_core.server.couch.bodies import decoded
from mosaicfs_core.server.couch.errors import row_of
from mosaicfs_core.store import BulkResult, Store, WriteTransaction

logger = logging.getLogger(__name__)

SLICE: Final = 500
"""Documents that are decoded and written together."""
IN_FLIGHT: Final = 2
"""Slices under way: one is made ready while the writer is at the other."""
MAX_ID: Final = 300
"""Characters of a document's id in the log."""

_KEPT: Final = (
    "type",
    "node_id",
    "source",
    "export_path",
    "plugin_name",
    "annotated_by",
    "access_key_id",
    "condition_key",
)


def tombstone(document: Mapping[str, Any]) -> dict[str, Any]:
    """The deletion of a document at its revision: what says whose it was stays."""
    kept = {key: document[key] for key in _KEPT if key in document}
    return {"_id": document["_id"], "_rev": document["_rev"], "_deleted": True, **kept}


async def write_all(store: Store, access: Access, raw: Sequence[msgspec.Raw], *, new_edits: bool) -> list[BulkResult]:
    """Write what this sender may write; the outcome of each document in order."""
    results: list[BulkResult] = []
    flying: deque[asyncio.Task[list[BulkResult]]] = deque()
    try:
        for start in range(0, len(raw), SLICE):
            if len(flying) == IN_FLIGHT:
                results += await flying[0]
                flying.popleft()
            documents = await asyncio.to_thread(_documents, raw[start : start + SLICE])
            flying.append(asyncio.create_task(write(store, access, documents, new_edits=new_edits)))
        while flying:
            results += await flying[0]
            flying.popleft()
    finally:
        await asyncio.gather(*flying, return_exceptions=True)
    return results


def _documents(raw: Sequence[msgspec.Raw]) -> list[dict[str, Any] | BulkResult]:
    return [_document(one) for one in raw]


def _document(raw: msgspec.Raw) -> dict[str, Any] | BulkResult:
    """A document, or the refusal of what is none."""
    try:
        return decoded(raw, dict[str, Any])
    except UserError as error:
        return BulkResult("", None, error)


async def write(
    store: Store, access: Access, documents: Sequence[Mapping[str, Any] | BulkResult], *, new_edits: bool
) -> list[BulkResult]:
    """Write one batch; a document that is refused does not hinder the others."""
    results: dict[int, BulkResult] = {}
    allowed: dict[int, Mapping[str, Any]] = {}
    described: dict[int, Mapping[str, Any]] = {}
    for place, document in enumerate(documents):
        if isinstance(document, BulkResult):
            results[place] = document
        elif (refusal := access.refusal(document)) is not None:
            results[place] = BulkResult(str(document.get("_id", "")), None, NotAllowed(refusal))
        else:
            (described if access.describes_itself(document) else allowed)[place] = document
    if allowed:
        results.update(zip(allowed, await store.bulk(allowed.values(), new_edits=new_edits), strict=True))
    if described:
        write = partial(_describe, documents=list(described.values()), new_edits=new_edits)
        results.update(zip(described, await store.transaction(write), strict=True))
    told = [results[place] for place in range(len(documents))]
    # A conflict is no refusal: the sender reads what is there and writes again.
    refused = [(result.id, result.error.message) for result in told if isinstance(result.error, UserError)]
    log_refused(access.node_id or access.scope, refused)
    return told


def log_refused(sender: str, refused: Sequence[tuple[str, str]]) -> None:
    """One line for a batch of which documents (id and reason) were refused: the sender is told of each, and whoever is
    asked why finds it here."""
    if not refused:
        return
    document_id, reason = refused[0]
    more = f", and {len(refused) - 1:,} more" if len(refused) > 1 else ""
    said = (sender, document_id[:MAX_ID] or "a document without an id", reason, more)
    logger.info("%s may not write %s (%s)%s", *said, extra={"operation": "replication"})


def _describe(tx: WriteTransaction, documents: Sequence[Mapping[str, Any]], *, new_edits: bool) -> list[BulkResult]:
    """Write what nodes say of themselves, upon what stands here at that very moment."""
    results: list[BulkResult] = []
    for document in documents:
        try:
            made = descriptions.taken(document, tx.live_leaves(document["_id"]), replicated=not new_edits)
        except UserError as error:
            results.append(BulkResult(str(document["_id"]), None, error))
        else:
            results += tx.bulk([made], new_edits=new_edits)
    return results


def rows_of(results: Sequence[BulkResult], *, new_edits: bool) -> list[dict[str, Any]]:
    """What ``_bulk_docs`` answers: every document, or with replicated revisions only those that were refused."""
    rows = []
    for result in results:
        if result.error is not None:
            rows.append(row_of(result.id, as_couch_says(result.error)))
        elif new_edits:
            rows.append({"ok": True, "id": result.id, "rev": result.rev})
    return rows


def as_couch_says(error: MosaicError) -> MosaicError:
    """Clients compare the text of a conflict."""
    if isinstance(error, Conflict):
        return Conflict("Document update conflict.")
    return error


def named_rev(query: Mapping[str, str], header: str | None, document: Mapping[str, Any]) -> str | None:
    """The revision that a write names: in the query, in ``If-Match`` or in the document, all the same."""
    named = [rev for rev in (query.get("rev"), header and header.strip().strip('"'), document.get("_rev")) if rev]
    if any(rev != named[0] for rev in named):
        raise UserError("rev: the request names different revisions", field="rev")
    return str(named[0]) if named else None
