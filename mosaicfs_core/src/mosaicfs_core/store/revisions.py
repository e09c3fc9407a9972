"""Revision ids, and the special fields of a document as it crosses the store's border."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import InvalidDocument, UserError
from .revtree import Rev, parse_rev

_encode_json = msgspec.json.Encoder(order="sorted").encode
_decode_json = msgspec.json.Decoder().decode
_SPECIAL = frozenset({"_id", "_rev", "_deleted", "_revisions", "_attachments"})


class Edit(NamedTuple):
    """A document taken apart. ``path`` is its own revision and the known ancestors, newest first; empty when new."""

    id: str
    body: dict[str, Any]
    deleted: bool
    path: tuple[Rev, ...]


_md5 = hashlib.md5


def encode(body: Any) -> bytes:
    """A body as canonical JSON: sorted keys, no blanks. Raises InvalidDocument for what JSON cannot hold."""
    try:
        return _encode_json(body)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidDocument(f"the document cannot be written as JSON: {error}") from None


def decode(body: bytes | str) -> dict[str, Any]:
    """A stored body."""
    decoded: dict[str, Any] = _decode_json(body)
    return decoded


def new_hash(parent: str, deleted: bool, canonical: bytes) -> str:
    """The hash of a revision: the same edit of the same parent gives the same one everywhere."""
    return _md5(b"%s %d %s" % (parent.encode(), deleted, canonical), usedforsecurity=False).hexdigest()


def take_apart(document: Mapping[str, Any], *, replicated: bool) -> Edit:
    """Split a document into its special fields and its body. Raises UserError on anything the store cannot keep."""
    identifier = document.get("_id")
    if not isinstance(identifier, str) or not identifier:
        raise UserError("_id: expected a non-empty text", field="_id")
    if identifier[0] == "_" and not (replicated and identifier.startswith("_design/")):
        raise UserError(f"_id: {identifier!r} begins with an underscore, which is reserved", field="_id")
    if not identifier.isascii():
        _check_text(identifier)
    body = dict(document)
    del body["_id"]
    rev = body.pop("_rev", None)
    special = [key for key in body if key[:1] == "_"]
    deleted = False
    if special:
        _check_special(document)
        deleted = document.get("_deleted", False)
        for key in special:
            del body[key]
    if replicated:
        return Edit(identifier, body, deleted, path_of(document))
    return Edit(identifier, body, deleted, () if rev is None else (parse_rev(rev),))


def _check_text(identifier: str) -> None:
    try:
        identifier.encode()
    except UnicodeEncodeError:
        raise UserError("_id: holds a lone surrogate, which no text may", field="_id") from None


def _check_special(document: Mapping[str, Any]) -> None:
    unknown = [key for key in document if key[:1] == "_" and key not in _SPECIAL]
    if unknown:
        raise UserError(f"{unknown[0]}: fields that begin with an underscore are reserved", field=unknown[0])
    if document.get("_attachments"):
        raise UserError("_attachments: MosaicFS documents have no attachments", field="_attachments")
    if not isinstance(document.get("_deleted", False), bool):
        raise UserError("_deleted: expected true or false", field="_deleted")


def path_of(document: Mapping[str, Any]) -> tuple[Rev, ...]:
    """The revision of a replicated document with its ancestors, from ``_rev`` and ``_revisions``."""
    given = document.get("_revisions")
    if given is None:
        if "_rev" not in document:
            raise UserError("_rev: a replicated document must carry its revision", field="_rev")
        return (parse_rev(document["_rev"]),)
    try:
        start, ids = given["start"], given["ids"]
        if start == 1 and len(ids) == 1 and type(ids[0]) is str and document.get("_rev") == f"1-{ids[0]}":
            return (parse_rev(document["_rev"]),)  # as most are
        path = tuple([(start - index, digest) for index, digest in enumerate(ids)])
        sound = bool(path) and path[-1][0] >= 1 and all(isinstance(digest, str) and digest for digest in ids)
    except (TypeError, KeyError):
        sound = False
    if not sound:
        raise UserError('_revisions: expected {"start": number, "ids": [hash, …]}', field="_revisions")
    if "_rev" in document and parse_rev(document["_rev"]) != path[0]:
        raise UserError("_revisions: does not begin with the document's _rev", field="_revisions")
    return path
