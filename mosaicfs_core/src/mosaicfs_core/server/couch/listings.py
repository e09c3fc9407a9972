"""``_all_docs`` and ``_find``: documents by id and by what they say."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec

from mosaicfs_core.errors import UserError
from mosaicfs_core.server.couch import pages
from mosaicfs_core.server.couch.bodies import Find
from mosaicfs_core.server.couch.errors import Refused
from mosaicfs_core.server.couch.view import View
from mosaicfs_core.store import Reader, Store
from mosaicfs_core.store.find import Found, Place
from mosaicfs_core.store.find import find as find_documents

MOST_FOUND: Final = 1000
"""Documents in one answer of ``_find``; its bookmark leads on."""
MOST_LOOKED_AT: Final = 10_000
"""Documents tried for one answer of ``_find``: a fraction of a second's work. Its bookmark leads on, too."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Bookmark(msgspec.Struct, frozen=True, array_like=True):
    skip: _Number
    place: tuple[_Number | str, ...]


@dataclass(frozen=True)
class Listing:
    """What to list: the documents of ``keys``, or those with ``start <= id <= end``."""

    keys: tuple[Any, ...] | None = None
    start: str = ""
    end: str | None = None
    limit: int | None = None
    skip: int = 0
    documents: bool = False
    conflicts: bool = False


async def lines(store: Store, view: View, asked: Listing) -> AsyncIterator[bytes]:
    """The body of an ``_all_docs``."""
    total = await _total(store, view)
    rows = _named(store, view, asked) if asked.keys is not None else _listed(store, view, asked)
    yield b'{"rows":[\n'
    first = True
    async for page in rows:
        yield page if first else pages.SEPARATOR + page
        first = False
    yield b'\n],"offset":%d,"total_rows":%d}\n' % (asked.skip, total)


async def _total(store: Store, view: View) -> int:
    info = await store.info()
    return sum(count for name, count in info.documents.items() if view.access.unlimited or name in view.access.types)


async def _named(store: Store, view: View, asked: Listing) -> AsyncIterator[bytes]:
    keys = (asked.keys or ())[asked.skip :]
    keys = keys if asked.limit is None else keys[: asked.limit]
    for start in range(0, len(keys), pages.PAGE):
        part = keys[start : start + pages.PAGE]
        read = partial(pages.named, view=view, keys=part, documents=asked.documents, conflicts=asked.conflicts)
        yield pages.SEPARATOR.join(await store.read(read))


async def _listed(store: Store, view: View, asked: Listing) -> AsyncIterator[bytes]:
    await store.order_ids()
    start, after = asked.start, False
    left, skip = asked.limit, asked.skip
    while left != 0:
        most = pages.PAGE if left is None else min(pages.PAGE, left + skip)
        read = partial(
            pages.listed,
            view=view,
            start=start,
            end=asked.end,
            limit=most,
            after=after,
            documents=asked.documents,
            conflicts=asked.conflicts,
        )
        page = await store.read(read)
        rows = page.rows[skip:]
        skip = max(0, skip - len(page.rows))
        if left is not None:
            rows = rows[:left]
            left -= len(rows)
        if rows:
            yield pages.SEPARATOR.join(rows)
        if page.last is None:
            return
        start, after = page.last, True


async def find(store: Store, view: View, asked: Find) -> dict[str, Any]:
    """The answer of a ``_find``.

    The selector sees what the reader sees, so that it tells nothing of what is hidden. An answer that ends before the
    documents do, with fewer than were asked for, says so in ``warning``.
    """
    if asked.sort:
        raise Refused(HTTPStatus.BAD_REQUEST, "no_usable_index", "sort: not served; sort what was found")
    if not 0 <= asked.limit <= MOST_FOUND or asked.skip < 0:
        raise UserError(f"limit: expected 0 to {MOST_FOUND}; the bookmark leads on from there", field="limit")
    start = _Bookmark(asked.skip, ())
    if asked.bookmark and asked.bookmark != "nil":
        start = _read_bookmark(asked.bookmark)
    access = view.access

    def read(reader: Reader) -> Found:
        return find_documents(
            reader,
            asked.selector,
            asked.limit,
            start.skip,
            after=start.place,
            most=MOST_LOOKED_AT,
            types=None if access.reads_files else access.types,
            shown=None if access.unlimited else partial(_shown, view),
        )

    found = await store.sweep(read)
    docs = found.documents
    if asked.fields is not None:
        docs = [_fields(document, asked.fields) for document in docs]
    answer: dict[str, Any] = {"docs": docs, "bookmark": "nil"}
    if docs or not found.ended:
        answer["bookmark"] = _written_bookmark(found.skip, found.place)
    if len(docs) < asked.limit and not found.ended:
        answer["warning"] = f"{MOST_LOOKED_AT:,} documents were looked at; there are more, and the bookmark leads on."
    return answer


def _written_bookmark(skip: int, place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Bookmark(skip, place))).decode()


def _read_bookmark(text: str) -> _Bookmark:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Bookmark)
    except (ValueError, msgspec.MsgspecError):
        raise Refused(HTTPStatus.BAD_REQUEST, "invalid_bookmark", "Invalid bookmark value.") from None


def _shown(view: View, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The winner as the reader sees it, None when that is nothing or a removal."""
    shown = view.access.shown(document)
    return None if shown is None or shown.get("_deleted") else shown


def _fields(document: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        *parents, last = name.split(".")
        source: Any = document
        for part in parents:
            source = source.get(part) if isinstance(source, Mapping) else None
        if isinstance(source, Mapping) and last in source:
            target = found
            for part in parents:
                target = target.setdefault(part, {})
            target[last] = source[last]
    return found
