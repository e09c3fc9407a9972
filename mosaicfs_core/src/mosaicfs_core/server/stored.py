"""Documents for the routes: lists that are short by nature (nodes, keys, plugin instances), and changes to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from quart import request

from mosaicfs_core.errors import NotFound
from mosaicfs_core.hooks import require_fresh
from mosaicfs_core.store import Reader, Store

MAX_DOCUMENTS: Final = 10_000


async def documents_of(store: Store, type_name: str, *key: str) -> list[dict[str, Any]]:
    """The live documents of a type under the leading fields of its index, at most 10,000."""

    def read(reader: Reader) -> list[dict[str, Any]]:
        return list(reader.documents_of(type_name, key, limit=MAX_DOCUMENTS))

    return await store.read(read)


async def replace(
    store: Store,
    identifier: str,
    function: Callable[[dict[str, Any]], Mapping[str, Any] | None],
    missing: str,
    *,
    absent: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Replace a document by what ``function`` makes of it (None leaves it), and return it as it is then.

    ``absent`` stands in for one that is not there. ``function`` is plain and runs in the writer's thread, where there
    is no request.

    Honours the request's ``If-Match`` (``Stale``); raises ``NotFound`` with the sentence ``missing``.
    """

    def apply(document: dict[str, Any] | None) -> Mapping[str, Any] | None:
        if document is None:
            document = absent
        if document is None:
            raise NotFound(missing)
        require_fresh(expected, document)
        return function(document)

    expected = request.headers.get("If-Match")
    written = await store.update(identifier, apply)
    if written is None:
        raise NotFound(missing)
    return written
