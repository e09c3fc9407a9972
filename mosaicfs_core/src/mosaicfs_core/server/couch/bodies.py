"""Request bodies: bounded, perhaps compressed, decoded into what an endpoint expects."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from quart import Request

from mosaicfs_core.errors import UserError
from mosaicfs_core.server.couch.answers import GZIP_WINDOW
from mosaicfs_core.server.couch.errors import Refused
from mosaicfs_core.wording import in_words

T = TypeVar("T")

MAX_DOCUMENTS_BYTES: Final = 64 * 1024 * 1024
"""Of a ``_bulk_docs``, as it comes and decompressed."""
MAX_QUESTION_BYTES: Final = 16 * 1024 * 1024
"""Of every other body."""


class BulkDocs(msgspec.Struct):
    """``_bulk_docs``. Documents stay text until their turn comes, so a large batch costs little more than itself."""

    docs: list[msgspec.Raw]
    new_edits: bool = True


class Keys(msgspec.Struct):
    """``_all_docs`` by POST; its other members are those of the query string."""

    keys: list[Any] | None = None
    startkey: str | None = None
    start_key: str | None = None
    endkey: str | None = None
    end_key: str | None = None
    limit: int | None = None
    skip: int | None = None
    include_docs: bool | None = None


class Filter(msgspec.Struct):
    """``_changes`` by POST."""

    selector: dict[str, Any] | None = None
    doc_ids: list[str] | None = None


class Find(msgspec.Struct):
    """``_find``."""

    selector: dict[str, Any]
    limit: int = 25
    skip: int = 0
    fields: list[str] | None = None
    sort: list[Any] | None = None
    bookmark: str | None = None


async def body_of(asked: Request, kind: type[T], *, limit: int = MAX_QUESTION_BYTES, empty: bytes | None = None) -> T:
    """The decoded body. ``empty`` stands for a body of no bytes.

    Raises ``Refused`` (413) for one beyond ``limit`` bytes, before or after decompression, and ``UserError``.
    """
    raw: bytes = await asked.get_data(cache=False, as_text=False, parse_form_data=False)
    if len(raw) > limit:
        raise _too_large(limit)
    encoding = asked.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "gzip":
        raw = await asyncio.to_thread(_decompressed, raw, limit)
    elif encoding not in ("identity", ""):
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "bad_ctype", f"{encoding} is not a supported content encoding."
        )
    if not raw.strip() and empty is not None:
        raw = empty
    return decoded(raw, kind)


def decoded(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """JSON as ``kind``. Raises ``UserError`` that names the place."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        field, problem = in_words(error)
        raise UserError(f"{field or 'the body'}: {problem}", field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UserError("the body is not valid JSON") from None
    except RecursionError:
        raise UserError("the body is too deeply nested") from None


def _decompressed(raw: bytes, limit: int) -> bytes:
    decompressor = zlib.decompressobj(GZIP_WINDOW)
    try:
        body = decompressor.decompress(raw, limit + 1)
    except zlib.error:
        raise UserError("the body is not valid gzip") from None
    if len(body) > limit:
        raise _too_large(limit)
    if not decompressor.eof or decompressor.unused_data:
        raise UserError("the body is not one whole gzip member")
    return body


def _too_large(limit: int) -> Refused:
    reason = f"the body is larger than {limit} bytes; send smaller batches"
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", reason)


def merged(query: Mapping[str, str], body: Keys) -> dict[str, str]:
    """The query with what the body says of the same things, which counts."""
    given = {name: getattr(body, name) for name in body.__struct_fields__ if name != "keys"}
    return {
        **query,
        **{name: msgspec.json.encode(value).decode() for name, value in given.items() if value is not None},
    }
