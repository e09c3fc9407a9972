"""The replica over CouchDB's replication protocol: ``/db/mosaicfs``."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Blueprint, Response, request

from mosaicfs_core.errors import NotAllowed, NotFound, UserError
from mosaicfs_core.replication.flows import Access
from mosaicfs_core.server.couch import bodies, documents, errors, listings, pages, params, writes
from mosaicfs_core.server.couch.access import access_of, still_allowed
from mosaicfs_core.server.couch.answers import in_parts, json_answer, stream_answer
from mosaicfs_core.server.couch.errors import Refused
from mosaicfs_core.server.couch.feeds import Feed
from mosaicfs_core.server.couch.view import View
from mosaicfs_core.server.state import principal, state
from mosaicfs_core.store import Store

NAME: Final = "mosaicfs"
PREFIX: Final = "/db"
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_NOT_SERVED: Final = frozenset(
    {
        "_cleanup",
        "_compact",
        "_design_docs",
        "_explain",
        "_index",
        "_local_docs",
        "_purge",
        "_purged_infos_limit",
        "_revs_limit",
        "_security",
        "_shards",
        "_show",
        "_sync_shards",
        "_temp_view",
        "_update",
        "_view_cleanup",
    }
)

blueprint = Blueprint("db", __name__, url_prefix=PREFIX)
errors.install(blueprint)


def access() -> Access:
    """What the caller may read and write."""
    return access_of(principal(), state().core.host)


def view() -> View:
    return View(access())


def store() -> Store:
    return state().core.store


def writing() -> Access:
    """The caller's access, when it may write at all."""
    found = access()
    if found.flow == "browser":
        raise NotAllowed("a signed-in page reads here; it writes through the API")
    return found


# The database


@blueprint.get("")
@blueprint.get("/")
async def welcome() -> Response:
    """What CouchDB answers at its root; clients tell servers apart by the uuid."""
    access()
    return json_answer(request, {"couchdb": "Welcome", "uuid": store().instance_id, "vendor": {"name": "MosaicFS"}})


@blueprint.get(f"/{NAME}")
@blueprint.get(f"/{NAME}/")
async def info() -> Response:
    """Figures; counts are of what the caller reads."""
    who, figures = access(), await store().info()
    seen = [figures.types.get(name, {}) for name in (figures.types if who.unlimited else who.types)]
    size = figures.bytes_on_disk if who.unlimited else 0
    answer = {
        "db_name": NAME,
        "instance_start_time": figures.instance_id,
        "uuid": figures.instance_id,
        "compression": ["gzip"],
        "update_seq": figures.update_seq,
        "doc_count": sum(types.get("live", 0) for types in seen),
        "doc_del_count": sum(types.get("deleted", 0) for types in seen),
        "purge_seq": 0,
        "compact_running": False,
        "sizes": {"file": size, "external": size, "active": size},
        "disk_format_version": 8,
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    }
    return json_answer(request, answer)


@blueprint.put(f"/{NAME}")
@blueprint.put(f"/{NAME}/")
async def create() -> Response:
    """The database is there already."""
    writing()
    reason = "The database could not be created, the file already exists."
    raise Refused(HTTPStatus.PRECONDITION_FAILED, "file_exists", reason)


@blueprint.delete(f"/{NAME}")
@blueprint.delete(f"/{NAME}/")
async def destroy() -> Response:
    """Nobody deletes a replica over the network."""
    raise NotAllowed("the database is not deleted over this protocol")


@blueprint.post(f"/{NAME}")
@blueprint.post(f"/{NAME}/")
async def post_document() -> Response:
    """Write one document that names its ``_id``."""
    who = writing()
    document = await bodies.body_of(request, dict[str, Any])
    return await documents.put(request, store(), who, document)


@blueprint.post(f"/{NAME}/_ensure_full_commit")
async def ensure_full_commit() -> Response:
    """Every write is durable when it is answered."""
    access()
    return json_answer(request, {"ok": True, "instance_start_time": store().instance_id}, HTTPStatus.CREATED)


# What changed, and what is missing


@blueprint.route(f"/{NAME}/_changes", methods=["GET", "POST"])
async def changes() -> Response:
    """The changes feed."""
    eyes = view()
    body = bodies.Filter()
    if request.method == "POST":
        body = await bodies.body_of(request, bodies.Filter, empty=b"{}")
    now = await store().read(lambda reader: reader.seq())
    asked = params.changes(request.args, body, now, request.headers.get("Last-Event-ID"))
    allowed = partial(still_allowed, principal(), state())
    if not await allowed():
        raise NotAllowed("this key, or the node that it is of, was disabled or is not known here")
    feed = Feed(store(), eyes, asked, allowed)
    live = asked.kind != "normal"
    mimetype = "text/event-stream" if asked.kind == "eventsource" else "application/json"
    return stream_answer(request, feed.lines(), state().live if live else state().streams, mimetype)


@blueprint.post(f"/{NAME}/_revs_diff")
async def revs_diff() -> Response:
    """Which of these revisions are not here, and what they may descend from."""
    return json_answer(request, await _missing(await bodies.body_of(request, dict[str, list[str]])))


@blueprint.post(f"/{NAME}/_missing_revs")
async def missing_revs() -> Response:
    """Which of these revisions are not here."""
    found = await _missing(await bodies.body_of(request, dict[str, list[str]]))
    return json_answer(request, {"missing_revs": {name: one["missing"] for name, one in found.items()}})


async def _missing(wanted: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    who, names = access(), list(wanted)
    found: dict[str, dict[str, list[str]]] = {}
    for start in range(0, len(names), pages.PAGE):
        part = {name: wanted[name] for name in names[start : start + pages.PAGE]}
        found |= await store().read(partial(pages.missing, access=who, wanted=part))
    return found


# Documents in batches


@blueprint.post(f"/{NAME}/_bulk_docs")
async def bulk_docs() -> Response:
    """Write many documents; each is answered for itself."""
    who = writing()
    body = await bodies.body_of(request, bodies.BulkDocs, limit=bodies.MAX_DOCUMENTS_BYTES)
    results = await writes.write_all(store(), who, body.docs, new_edits=body.new_edits)
    return json_answer(request, writes.rows_of(results, new_edits=body.new_edits), HTTPStatus.CREATED)


class _BulkGet(msgspec.Struct):
    docs: list[pages.Wanted]


@blueprint.post(f"/{NAME}/_bulk_get")
async def bulk_get() -> Response:
    """Documents at leaves, with their history."""
    eyes, replica = view(), store()
    wanted = (await bodies.body_of(request, _BulkGet)).docs
    revs, latest = params.flag(request.args, "revs"), params.flag(request.args, "latest")
    parts = [wanted[start : start + pages.BODIES] for start in range(0, len(wanted), pages.BODIES)]

    async def read(part: list[pages.Wanted]) -> bytes:
        return await replica.read(partial(pages.bulk_get, view=eyes, wanted=part, revs=revs, latest=latest))

    return stream_answer(request, in_parts(b'{"results":[\n', parts, read, b"\n]}\n"), state().streams)


@blueprint.route(f"/{NAME}/_all_docs", methods=["GET", "POST"])
async def all_docs() -> Response:
    """Documents by id."""
    eyes = view()
    body = bodies.Keys()
    if request.method == "POST":
        body = await bodies.body_of(request, bodies.Keys, empty=b"{}")
    asked = params.listing(bodies.merged(request.args, body), body.keys)
    return stream_answer(request, listings.lines(store(), eyes, asked), state().streams)


@blueprint.post(f"/{NAME}/_find")
async def find() -> Response:
    """Documents that match a selector."""
    return json_answer(request, await listings.find(store(), view(), await bodies.body_of(request, bodies.Find)))


# Local documents, which are each caller's own


@blueprint.get(f"/{NAME}/_local/<path:name>")
async def get_local(name: str) -> Response:
    """A local document of the caller's."""
    found = await store().local_get(f"{access().scope}/{name}")
    if found is None:
        raise NotFound("missing")
    return json_answer(request, {**found, "_id": f"_local/{name}"})


@blueprint.put(f"/{NAME}/_local/<path:name>")
async def put_local(name: str) -> Response:
    """Write a local document of the caller's."""
    who = writing()
    document = await bodies.body_of(request, dict[str, Any])
    rev = writes.named_rev(request.args, request.headers.get("If-Match"), document)
    stored = {key: value for key, value in document.items() if key != "_rev"} | ({} if rev is None else {"_rev": rev})
    with documents.as_couch_says():
        new = await store().local_put(f"{who.scope}/{name}", stored)
    return json_answer(request, {"ok": True, "id": f"_local/{name}", "rev": new}, HTTPStatus.CREATED)


@blueprint.delete(f"/{NAME}/_local/<path:name>")
async def delete_local(name: str) -> Response:
    """Remove a local document of the caller's."""
    who = writing()
    if await store().local_get(f"{who.scope}/{name}") is None:
        raise NotFound("missing")
    rev = writes.named_rev(request.args, request.headers.get("If-Match"), {})
    with documents.as_couch_says():
        await store().local_delete(f"{who.scope}/{name}", rev or "")
    return json_answer(request, {"ok": True, "id": f"_local/{name}", "rev": "0-0"})


# Single documents


@blueprint.get(f"/{NAME}/<path:document_id>")
async def get_document(document_id: str) -> Response:
    """A document, a revision of it, or its leaves."""
    eyes = view()
    _served(document_id)
    return await documents.get(request, store(), eyes, document_id)


@blueprint.put(f"/{NAME}/<path:document_id>")
async def put_document(document_id: str) -> Response:
    """Write a document."""
    who = writing()
    _served(document_id)
    document = await bodies.body_of(request, dict[str, Any])
    if document.setdefault("_id", document_id) != document_id:
        raise UserError("_id: the document has another id than the address", field="_id")
    return await documents.put(request, store(), who, document)


@blueprint.delete(f"/{NAME}/<path:document_id>")
async def delete_document(document_id: str) -> Response:
    """Delete a document; its tombstone still says whose it was."""
    who = writing()
    _served(document_id)
    return await documents.delete(request, store(), who, document_id)


@blueprint.route("/<path:anything>", methods=METHODS)
async def nothing(anything: str) -> Response:
    """Everything else, in CouchDB's form."""
    access()
    database, _, rest = anything.partition("/")
    if database != NAME:
        if request.method == "PUT":
            raise NotAllowed(f"there is one database here, {NAME}")
        raise NotFound("Database does not exist.")
    _served(rest)
    raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "This address does not take this method.")


def _served(document_id: str) -> None:
    """Raise ``Refused`` for what stands where a document's id would and is none."""
    if document_id[:1] != "_":
        return
    word, _, rest = document_id.partition("/")
    if word == "_design" and rest and "/_" not in rest:
        return
    if word in _NOT_SERVED or word == "_design":
        reason = f"MosaicFS replicates through this protocol; it does not serve {word}."
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, "not_implemented", reason)
    raise Refused(HTTPStatus.BAD_REQUEST, "illegal_docid", "Only reserved document ids may start with underscore.")
