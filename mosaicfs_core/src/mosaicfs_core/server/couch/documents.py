"""Single documents: read at a revision, in all leaves, written, deleted."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Request, Response

from mosaicfs_core.errors import Conflict, MosaicError, NotFound, UserError
from mosaicfs_core.replication.flows import Access
from mosaicfs_core.server.couch import params, writes
from mosaicfs_core.server.couch.answers import json_answer
from mosaicfs_core.server.couch.bodies import decoded
from mosaicfs_core.server.couch.pages import of_one_state
from mosaicfs_core.server.couch.view import Seen, View
from mosaicfs_core.server.couch.writes import tombstone
from mosaicfs_core.store import Entry, Reader, Store
from mosaicfs_core.store.revtree import format_rev, parse_rev

_ALL: Final = "all"


@contextmanager
def as_couch_says() -> Iterator[None]:
    """A conflict inside the block is worded as clients know it."""
    try:
        yield
    except Conflict as error:
        raise writes.as_couch_says(error) from error


async def get(asked: Request, store: Store, view: View, document_id: str) -> Response:
    """The answer to a GET of a document. Raises ``NotFound``."""
    query = asked.args
    if "open_revs" in query:
        return await _open_revs(asked, store, view, document_id)
    found = await store.read(partial(_found, view=view, document_id=document_id, query=query))
    tag = f'"{found["_rev"]}"'
    if asked.headers.get("If-None-Match") == tag:
        return Response(b"", status=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
    return json_answer(asked, found, headers={"ETag": tag})


@of_one_state
def _found(reader: Reader, view: View, document_id: str, query: Mapping[str, str]) -> dict[str, Any]:
    entry = view.entries(reader, (document_id,)).get(document_id)
    leaves = [] if entry is None else view.leaves(entry)
    if entry is None or not leaves:
        raise NotFound("missing")
    meta = params.flag(query, "meta")
    rev = query.get("rev")
    if rev is None:
        if leaves[0].deleted:
            raise NotFound("deleted")
        document = view.winner(entry, leaves)
    else:
        heirs = entry.heirs(rev) if params.flag(query, "latest") else []
        named = view.document(entry, heirs[0] if heirs else rev)
        if named is None:
            raise NotFound("missing")
        document = dict(named)
    if params.flag(query, "revs"):
        document["_revisions"] = entry.revisions(document["_rev"])
    if meta or params.flag(query, "revs_info"):
        document["_revs_info"] = _revs_info(entry, document["_rev"], leaves)
    if meta or params.flag(query, "conflicts"):
        _add_losers(document, "_conflicts", [leaf for leaf in leaves if not leaf.deleted])
    if meta or params.flag(query, "deleted_conflicts"):
        _add_losers(document, "_deleted_conflicts", [leaf for leaf in leaves if leaf.deleted])
    if params.flag(query, "local_seq"):
        document["_local_seq"] = entry.seq
    return document


def _add_losers(document: dict[str, Any], field: str, leaves: Sequence[Seen]) -> None:
    if losers := [leaf.rev for leaf in leaves if leaf.rev != document["_rev"]]:
        document[field] = losers


def _revs_info(entry: Entry, rev: str, leaves: Sequence[Seen]) -> list[dict[str, str]]:
    history = entry.revisions(rev)
    status = {leaf.rev: "deleted" if leaf.deleted else "available" for leaf in leaves}
    revs = [format_rev((history["start"] - age, digest)) for age, digest in enumerate(history["ids"])]
    return [{"rev": one, "status": status.get(one, "missing")} for one in revs]


async def _open_revs(asked: Request, store: Store, view: View, document_id: str) -> Response:
    """Leaves, as JSON or in the parts that CouchDB's replicator wants."""
    named = asked.args["open_revs"]
    revs = None if named == _ALL else decoded(named.encode("utf-8", "replace"), list[str])
    for rev in revs or ():
        parse_rev(rev)
    latest, history = params.flag(asked.args, "latest"), params.flag(asked.args, "revs")

    @of_one_state
    def read(reader: Reader) -> list[Mapping[str, Any]]:
        entry = view.entries(reader, (document_id,)).get(document_id)
        if entry is not None:
            return view.open_revs(entry, revs, latest=latest, history=history)
        if revs is None:
            raise NotFound("missing")
        return [{"missing": rev} for rev in revs]

    found = await store.read(read)
    if "multipart/mixed" in asked.headers.get("Accept", "") and "application/json" not in asked.headers["Accept"]:
        return _multipart(found)
    return json_answer(asked, [one if "missing" in one and "_id" not in one else {"ok": one} for one in found])


def _multipart(found: Sequence[Mapping[str, Any]]) -> Response:
    boundary = secrets.token_hex(16)
    parts = []
    for one in found:
        error = "" if "_id" in one else '; error="true"'
        head = f"--{boundary}\r\nContent-Type: application/json{error}\r\n\r\n"
        parts.append(head.encode() + msgspec.json.encode(one) + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--".encode()
    return Response(body, headers={"Content-Type": f'multipart/mixed; boundary="{boundary}"'})


async def put(asked: Request, store: Store, access: Access, document: dict[str, Any]) -> Response:
    """Write one document."""
    replicated = not params.flag(asked.args, "new_edits", True)
    rev = writes.named_rev(asked.args, asked.headers.get("If-Match"), document)
    if rev is not None:
        document["_rev"] = rev
    if not isinstance(document.get("_id"), str):
        raise UserError("_id: expected a text; documents of MosaicFS have ids of their own", field="_id")
    return await _written(asked, store, access, document, replicated)


async def delete(asked: Request, store: Store, access: Access, document_id: str) -> Response:
    """Delete one document at the revision that the request names."""
    rev = writes.named_rev(asked.args, asked.headers.get("If-Match"), {})
    view = View(access)

    @of_one_state
    def read(reader: Reader) -> Mapping[str, Any] | None:
        entry = view.entries(reader, (document_id,)).get(document_id)
        if entry is None or (rev is None and entry.deleted):
            raise NotFound("missing" if entry is None else "deleted")
        return None if rev is None else view.document(entry, rev)

    present = await store.read(read)
    if present is None:
        raise Conflict("Document update conflict.")
    return await _written(asked, store, access, tombstone(present), replicated=False)


async def _written(
    asked: Request, store: Store, access: Access, document: Mapping[str, Any], replicated: bool
) -> Response:
    (result,) = await writes.write(store, access, [document], new_edits=not replicated)
    if result.error is not None:
        error: MosaicError = writes.as_couch_says(result.error)
        raise error
    headers = {"ETag": f'"{result.rev}"'}
    answer = {"ok": True, "id": result.id, "rev": result.rev}
    status = HTTPStatus.OK if document.get("_deleted") else HTTPStatus.CREATED
    return json_answer(asked, answer, status, headers)
