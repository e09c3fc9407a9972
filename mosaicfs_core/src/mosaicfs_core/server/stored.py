"""Reading documents of a type whole, for the lists that are short by nature (nodes, keys, plugin instances)."""

from __future__ import annotations

from typing import Any, Final

from mosaicfs_core.store import Reader, Store

MAX_DOCUMENTS: Final = 10_000


async def documents_of(store: Store, type_name: str, *key: str) -> list[dict[str, Any]]:
    """The live documents of a type under the leading fields of its index, at most 10,000."""

    def read(reader: Reader) -> list[dict[str, Any]]:
        return list(reader.documents_of(type_name, key, limit=MAX_DOCUMENTS))

    return await store.read(read)
