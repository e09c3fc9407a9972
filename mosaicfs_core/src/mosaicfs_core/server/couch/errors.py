"""Errors in CouchDB's own shape: ``{"error": name, "reason": text}``."""

from __future__ import annotations

import sqlite3
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Blueprint, Response
from werkzeug.exceptions import HTTPException

from mosaicfs_core.errors import (
    Conflict,
    InvalidDocument,
    MosaicError,
    NotAllowed,
    NotFound,
    NotSignedIn,
    Unavailable,
    UserError,
)
from mosaicfs_core.server.errors import TooManyRequests, headers_of, incident_of
from mosaicfs_core.store.failures import read_error


class Refused(MosaicError):
    """A request of the protocol that is not served, with CouchDB's status and name for it."""

    def __init__(self, status: HTTPStatus, name: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.name = name


# The first class that fits wins, so a class stands before its bases.
_KINDS: Final[tuple[tuple[type[MosaicError], HTTPStatus, str], ...]] = (
    (NotSignedIn, HTTPStatus.UNAUTHORIZED, "unauthorized"),
    (NotAllowed, HTTPStatus.FORBIDDEN, "forbidden"),
    (InvalidDocument, HTTPStatus.FORBIDDEN, "forbidden"),  # what a validation function of a database answers
    (UserError, HTTPStatus.BAD_REQUEST, "bad_request"),
    (NotFound, HTTPStatus.NOT_FOUND, "not_found"),
    (Conflict, HTTPStatus.CONFLICT, "conflict"),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests"),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE, "service_unavailable"),
)

_FRAMEWORK: Final = {
    400: ("bad_request", "The request could not be understood: expected valid JSON."),
    404: ("not_found", "missing"),
    405: ("method_not_allowed", "This address does not take this method."),
    408: ("timeout", "The request took too long to arrive."),
    413: ("too_large", "The request is larger than this server takes."),
    415: ("bad_content_type", "Content-Type must be application/json"),
}


def kind_of(error: MosaicError) -> tuple[HTTPStatus, str]:
    """Status and CouchDB's name of one of our errors."""
    if isinstance(error, Refused):
        return error.status, error.name
    for kind, status, name in _KINDS:
        if isinstance(error, kind):
            return status, name
    return HTTPStatus.INTERNAL_SERVER_ERROR, "unknown_error"


def row_of(document_id: str, error: MosaicError) -> dict[str, Any]:
    """What a batch answers for one document that was refused."""
    return {"id": document_id, "error": kind_of(error)[1], "reason": error.message}


def error_answer(status: int, name: str, reason: str, headers: dict[str, str] | None = None) -> Response:
    """An answer in CouchDB's shape."""
    body = msgspec.json.encode({"error": name, "reason": reason}) + b"\n"
    return Response(body, status=status, headers=headers, mimetype="application/json")


def install(blueprint: Blueprint) -> None:
    """Answer every error of the blueprint's views, and of the guard before them, in CouchDB's shape."""

    @blueprint.errorhandler(MosaicError)
    async def _ours(error: MosaicError) -> Response:
        status, name = kind_of(error)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            return _surprise(error)
        return error_answer(status, name, error.message, headers_of(error))

    @blueprint.errorhandler(sqlite3.Error)
    async def _of_the_store(error: sqlite3.Error) -> Response:
        told = read_error(error)
        if isinstance(told, MosaicError):
            status, name = kind_of(told)
            return error_answer(status, name, told.message)
        return _surprise(error)

    @blueprint.errorhandler(HTTPException)
    async def _framework(error: HTTPException) -> Response:
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _surprise(getattr(error, "original_exception", None) or error)
        name, reason = _FRAMEWORK.get(status, _FRAMEWORK[400])
        return error_answer(status, name, reason)

    @blueprint.errorhandler(Exception)
    async def _unexpected(error: Exception) -> Response:
        return _surprise(error)


def _surprise(error: BaseException) -> Response:
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "unknown_error", incident_of(error)[1])
