"""What the replication protocol asks of a replica, answered for whole batches: which revisions are missing, and leaves
with their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MosaicError, NotFound
from . import revtree
from .entries import Entry
from .reader import Reader
from .revtree import format_rev, parse_rev


def revs_diff(entries: Mapping[str, Entry], wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """``{id: {"missing": [rev], "possible_ancestors": [rev]}}`` for the revisions that ``entries`` do not have."""
    found = {}
    for identifier, revs in wanted.items():
        difference = _difference(entries.get(identifier), revs)
        if difference:
            found[identifier] = difference
    return found


def _difference(entry: Entry | None, revs: Sequence[str]) -> dict[str, list[str]]:
    if entry is None:
        return {"missing": [format_rev(parse_rev(rev)) for rev in revs]} if revs else {}
    absent = [parse_rev(rev) for rev in entry.unknown(revs)]
    if not absent:
        return {}
    found = {"missing": [format_rev(rev) for rev in absent]}
    if ancestors := revtree.possible_ancestors(entry.tree(), absent):
        found["possible_ancestors"] = [format_rev(rev) for rev in ancestors]
    return found


def leaves_of(
    entry: Entry, revs: Sequence[str] | None, *, latest: bool = False, history: bool = True
) -> list[dict[str, Any]]:
    """The documents at these leaves (all when ``revs`` is None), with ``_revisions`` when ``history``.

    ``{"missing": rev}`` stands for what is unknown or superseded; ``latest`` answers a superseded revision with the
    leaves that came of it.
    """
    if entry.single and (revs is None or (len(revs) == 1 and revs[0] == entry.rev)):
        document = entry.document()
        assert document is not None
        if history:
            document["_revisions"] = entry.revisions(entry.rev)
        return [document]
    found: dict[str, dict[str, Any]] = {}
    for wanted in [leaf.rev for leaf in entry.leaves()] if revs is None else revs:
        named = entry.heirs(wanted) if latest else []
        for rev in named or [format_rev(parse_rev(wanted))]:
            document = entry.document(rev)
            if document is None:
                found[rev] = {"missing": rev}
                continue
            if history:
                document["_revisions"] = entry.revisions(rev)
            found[rev] = document
    return list(found.values())


def open_revs(
    reader: Reader, identifier: str, revs: Sequence[str] | None, *, latest: bool = False
) -> list[dict[str, Any]]:
    """``leaves_of`` by id. Raises NotFound when all leaves are wanted of what does not exist."""
    with reader.snapshot():
        entry = reader.entries((identifier,)).get(identifier)
        if entry is not None:
            return leaves_of(entry, revs, latest=latest)
    if revs is None:
        raise NotFound(f"{identifier} does not exist", id=identifier)
    return [{"missing": rev} for rev in revs]


def bulk_get(reader: Reader, wanted: Sequence[Mapping[str, str]], *, revs: bool, latest: bool) -> list[dict[str, Any]]:
    """For each ``{"id", "rev"?}``: ``{"id", "docs": [{"ok": document} | {"error": {…}}]}``."""
    with reader.snapshot():
        entries = reader.entries({one.get("id", "") for one in wanted})
        return [bulk_get_one(entries.get(one.get("id", "")), one, revs=revs, latest=latest) for one in wanted]


def bulk_get_one(entry: Entry | None, wanted: Mapping[str, str], *, revs: bool, latest: bool) -> dict[str, Any]:
    """One row of the answer of ``bulk_get``."""
    identifier, rev = wanted.get("id", ""), wanted.get("rev")
    if entry is None:
        return {"id": identifier, "docs": [{"error": _not_found(identifier, rev or "undefined")}]}
    docs: list[dict[str, Any]] = []
    try:
        for found in leaves_of(entry, None if rev is None else [rev], latest=latest, history=revs):
            missing = found.get("missing") if "_id" not in found else None
            docs.append({"ok": found} if missing is None else {"error": _not_found(identifier, missing)})
    except MosaicError as error:
        reason = {"id": identifier, "rev": rev or "undefined", "error": error.code, "reason": error.message}
        docs.append({"error": reason})
    return {"id": identifier, "docs": docs}


def _not_found(identifier: str, rev: str) -> dict[str, Any]:
    return {"id": identifier, "rev": rev, "error": "not_found", "reason": "missing"}
