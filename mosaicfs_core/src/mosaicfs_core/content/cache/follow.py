"""Keeping the cache true to the documents: what changed or went there goes here."""

from __future__ import annotations

from typing import Final

from mosaicfs_core.content.cache.cache import Cache
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.store import ChangeRow, Reader, Store

_BATCH: Final = 1000


async def follow(store: Store, cache: Cache) -> None:
    """Compare everything once, then follow the store until it is closed. For ``supervised``."""
    seq = store.seq
    await cache.compare(lambda file_id: _file(store.reader, file_id))

    def changes(reader: Reader) -> list[ChangeRow]:
        return reader.changes_since(seq, _BATCH)

    while await store.wait(seq):
        if store.seq == seq:
            return  # the store was closed
        latest = store.seq
        if not await cache.holds_anything():
            seq = latest  # a first crawl or replication writes hundreds of thousands, which concern no entry
            continue
        while rows := await store.read(changes):
            seq = rows[-1].seq
            changed = [file_id for row in rows if row.type == "file" and (file_id := _file_id(row.id)) is not None]
            if changed:
                await cache.changed(changed, lambda file_id: _file(store.reader, file_id))


def _file_id(document_id: str) -> str | None:
    """The short id of a file's document; None for one that has come from elsewhere under an id that no file has."""
    try:
        return ids.short_file_id(document_id)
    except UserError:
        return None


def _file(reader: Reader, file_id: str) -> FileRecord | None:
    try:
        row = reader.file_by_id(file_id)
    except UserError:
        return None
    return row.record() if row is not None and row.status == "active" else None
