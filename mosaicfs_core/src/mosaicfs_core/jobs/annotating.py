"""This node's annotations: they follow a file that moves and go with one that is deleted, in the transaction that
writes the file, and are written in the one that ends the job they came of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mosaicfs_core.documents import annotation_id, format_time, name_of, parent_of
from mosaicfs_core.store import FileWrite, WriteTransaction
from mosaicfs_core.store.moves import annotators
from mosaicfs_core.store.rows import FileParts, join_path

_OF_A_TOMBSTONE: Final = ("_id", "_rev", "type", "node_id", "export_path", "plugin_name", "annotated_by")
_APART: Final = frozenset({"_id", "_rev", "annotated_at", "updated_at"})
_SHOWN: Final = """SELECT d.doc FROM nodes n CROSS JOIN directories p ON p.node = n.node AND p.path = ?2
    CROSS JOIN documents d ON d.dir = p.dir AND d.name = ?3 AND d.shown = 1 WHERE n.node_id = ?1"""
_WORTH_LOOKING: Final = "SELECT 1 FROM lookup WHERE kind = 10 LIMIT 1"


class Place(NamedTuple):
    """Where a file is."""

    node_id: str
    export_path: str


class Left(NamedTuple):
    """A file that left a place, for another one or (None) for none."""

    place: Place
    to: Place | None


def follow(tx: WriteTransaction, node_id: str, writes: Iterable[FileWrite]) -> None:
    """Move and remove what this node has annotated. All leave their places before any arrives, so that files may take
    one another's; where two documents stand at one place for a while, what stands there is the newcomer's."""
    left: list[Left] = []
    arrived: set[int] = set()
    for write in writes:
        was, now = _place(write.before), _place(write.after)
        if was != now:
            if was is not None:
                left.append(Left(was, now))
            arrived.add(write.doc)
    if not left or tx.execute(_WORTH_LOOKING).fetchone() is None:
        return
    leaving = {place: _of_place(tx, node_id, place) for place, _ in left if not _stays(tx, place, arrived)}
    for _, to in left:
        if to is not None and to not in leaving:
            leaving[to] = _of_place(tx, node_id, to)
    arriving = [_moved(document, to) for place, to in left if to is not None for document in leaving.get(place, ())]
    present = {document["_id"]: document for found in leaving.values() for document in found}
    coming = {document["_id"] for document in arriving}
    gone = [annotation_tombstone(document) for name, document in present.items() if name not in coming]
    put_all(tx, gone + [_over(document, present.get(document["_id"])) for document in arriving])


def _place(parts: FileParts | None) -> Place | None:
    if parts is None or not parts.shown:
        return None
    return Place(parts.node_id, join_path(parts.parent, parts.name))


def _stays(tx: WriteTransaction, place: Place, arrived: set[int]) -> bool:
    """Whether a file that was there before is there still: what stands at the place is its own."""
    where = (place.node_id, parent_of(place.export_path), name_of(place.export_path))
    return any(doc not in arrived for (doc,) in tx.execute(_SHOWN, where))


def _of_place(tx: WriteTransaction, node_id: str, place: Place) -> list[dict[str, Any]]:
    wanted = [annotation_id(*place, plugin, node_id) for plugin in annotators(tx, *place)]
    return [document for document in tx.get_many(wanted) if document is not None]


def _moved(document: Mapping[str, Any], to: Place) -> dict[str, Any]:
    identifier = annotation_id(*to, document["plugin_name"], document["annotated_by"])
    return {**document, "_id": identifier, "node_id": to.node_id, "export_path": to.export_path}


def annotation_tombstone(document: Mapping[str, Any]) -> dict[str, Any]:
    """What takes an annotation away: it keeps what tells whose it was."""
    return {**{key: document[key] for key in _OF_A_TOMBSTONE}, "_deleted": True}


def _over(document: Mapping[str, Any], present: Mapping[str, Any] | None) -> dict[str, Any]:
    """A document that takes the place of another one, or of none."""
    body = {key: value for key, value in document.items() if key != "_rev"}
    return body if present is None else {**body, "_rev": present["_rev"]}


def put_all(tx: WriteTransaction, documents: Sequence[Mapping[str, Any]]) -> None:
    """Write all of these, or raise why one cannot be."""
    for result in tx.bulk(documents):
        if result.error is not None:
            raise result.error


class Said(NamedTuple):
    """What came of a file: ``data``, or ``error`` in its stead; None for both when nothing is to be said, which takes
    away only a former failure. The file was at ``mtime`` and ``size`` when the plugin was given it."""

    place: Place
    instance: str
    version: str | None
    mtime: int
    size: int
    data: Mapping[str, Any] | None
    error: str | None = None


def document_of(tx: WriteTransaction, node_id: str, said: Said, now: int) -> dict[str, Any] | None:
    """The annotation document to be written, a tombstone too; None when there is nothing to write."""
    identifier = annotation_id(*said.place, said.instance, node_id)
    present = tx.get(identifier)
    if said.data is None and said.error is None:
        return annotation_tombstone(present) if present is not None and present.get("status") == "failed" else None
    body: dict[str, Any] = {
        "type": "annotation",
        "node_id": said.place.node_id,
        "export_path": said.place.export_path,
        "plugin_name": said.instance,
        "annotated_by": node_id,
        "data": dict(said.data or {}),
        "status": "ok" if said.error is None else "failed",
        "source_mtime": format_time(said.mtime),
        "source_size": said.size,
    }
    if said.error is not None:
        body["error"] = said.error
    if said.version is not None:
        body["plugin_version"] = said.version
    if present is not None and {key: value for key, value in present.items() if key not in _APART} == body:
        return None
    moment = format_time(now)
    first = moment if present is None else present["annotated_at"]
    revision = {} if present is None else {"_rev": present["_rev"]}
    return {"_id": identifier, **revision, **body, "annotated_at": first, "updated_at": moment}
