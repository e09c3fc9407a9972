"""What a database answers about documents, checked and in our terms. Pure.

Something in between may answer in its place: a proxy's page, a portal's JSON. What has not the shape that CouchDB gives
such an answer says nothing about the documents and is ``Unavailable``, as is one that was cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ..errors import Unavailable, UserError
from .peer import Choked, Document, Fetched, Refused, Wanted

T = TypeVar("T")

FOR_GOOD: Final = frozenset(
    {
        "attachment_too_large",
        "bad_request",
        "doc_validation",
        "document_too_large",
        "forbidden",
        "illegal_docid",
        "illegal_partition",
        "missing_id",
        "missing_stub",
        "partition_overflow",
        "unauthorized",
    }
)
"""What is wrong with a document itself, in the words of CouchDB, pouchdb-server and ourselves: offering it again does
not help. Any other error of a row, known or not, is one that passes."""
_SILENT: Final = "the database did not answer for it"
NOT_FOUND: Final = frozenset({"not_found", "missing"})


class _Found(msgspec.Struct):
    ok: dict[str, Any] | None = None
    error: Any = None
    missing: str | None = None


class _Got(msgspec.Struct):
    id: str | None
    docs: list[_Found]


class _Results(msgspec.Struct):
    results: list[_Got]


class _Absent(msgspec.Struct):
    missing: list[str] = []


class _Written(msgspec.Struct):
    id: str | None = None
    rev: str | None = None
    error: Any = None
    name: Any = None
    reason: Any = None


_results = msgspec.json.Decoder(_Results).decode
_open_revs = msgspec.json.Decoder(list[_Found]).decode
_difference = msgspec.json.Decoder(dict[str, _Absent]).decode
_rows = msgspec.json.Decoder(list[_Written]).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode


def described(body: bytes) -> dict[str, Any]:
    """An answer that is an object."""
    return _readable(_object, body)


def lacking(body: bytes) -> list[Wanted]:
    """The answer of ``_revs_diff``."""
    return [Wanted(name, rev) for name, absent in _readable(_difference, body).items() for rev in absent.missing]


def fetched(asked: Sequence[tuple[str, str | None]], body: bytes) -> Fetched:
    """The answer of ``_bulk_get`` about documents, each at a revision or, with None, in all its leaves.

    Raises ``Choked`` when it failed at all of them: CouchDB says of each what it could not do for one. Raises UserError
    for an answer that holds what JSON cannot: asked for fewer documents, the rest can be read.
    """
    found, answered = Fetched([], [], []), set()
    revs = dict(asked)
    for got in _readable(_results, body).results:
        identifier = got.id or ""
        answered.add(identifier)
        _sort(identifier, revs.get(identifier), got.docs or [_Found()], found)
    for identifier in revs.keys() - answered:
        found.failed.append(Refused(identifier, revs[identifier] or "", _SILENT, temporary=True))
    if found.failed and not (found.documents or found.absent):
        raise Choked(found.failed[0].reason)
    return found


def opened(identifier: str, rev: str | None, body: bytes) -> Fetched:
    """The answer of ``open_revs`` about one document. Raises as ``fetched``."""
    found = Fetched([], [], [])
    _sort(identifier, rev, _readable(_open_revs, body), found)
    return found


def together(parts: Sequence[Fetched]) -> Fetched:
    """Several answers as one."""
    return Fetched(
        [document for part in parts for document in part.documents],
        [one for part in parts for one in part.failed],
        [one for part in parts for one in part.absent],
    )


def refusals(documents: Sequence[Document], body: bytes) -> list[Refused]:
    """The answer of ``_bulk_docs``. Raises ``Choked`` when it does not say which document it speaks of."""
    return [_refusal(documents, row) for row in _readable(_rows, body) if row.error is not None]


def _sort(identifier: str, rev: str | None, told: Sequence[_Found], found: Fetched) -> None:
    """Put what is told of a document, asked for at a revision or in all its leaves, where it belongs. A document
    that is not there has no leaves."""
    for one in told:
        if one.ok is not None:
            found.documents.append(one.ok)
            continue
        name, reason = _why(one)
        refused = Refused(identifier, rev or "", reason, temporary=True)
        if name not in NOT_FOUND:
            found.failed.append(refused)
        elif rev is not None:
            found.absent.append(refused)


def _why(found: _Found) -> tuple[str, str]:
    """The name of what went wrong, and a text."""
    said: Mapping[str, Any] = found.error if isinstance(found.error, Mapping) else {"error": found.error}
    name = _name(said.get("error"), said.get("name"))
    if found.missing is not None or found.error is None:
        name = "missing"
    return name, f"{name}: {said.get('reason', '')}"


def _name(error: object, name: object) -> str:
    """pouchdb-server says ``true``, and what it is under ``name``."""
    return error if isinstance(error, str) else name if isinstance(name, str) else "unknown_error"


def _refusal(documents: Sequence[Document], row: _Written) -> Refused:
    error = _name(row.error, row.name)
    reason = f"{error}: {row.reason or ''}"
    identifier, rev = row.id, row.rev
    if not identifier and len(documents) == 1:
        identifier, rev = str(documents[0].get("_id", "")), str(documents[0].get("_rev", ""))
    if not identifier:
        raise Choked(reason)
    return Refused(identifier, rev or "", reason, temporary=error not in FOR_GOOD)


def _readable(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise Unavailable(f"Something before the database answered, or it is none: {error}") from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        text = body.strip()
        if not text.startswith((b"{", b"[")) or not text.endswith((b"}", b"]")):
            raise Unavailable("The answer is no JSON, or was cut short.") from None
        raise UserError(f"The answer cannot be read as JSON: {error}") from None
