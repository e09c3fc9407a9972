"""What the REST API says of files: one shape, whichever route of whichever plugin answers."""

from __future__ import annotations

import msgspec

from mosaicfs_core.documents.times import format_time
from mosaicfs_core.hooks.context import FileRecord, Page


class FileAnswer(msgspec.Struct, kw_only=True):
    """An indexed file. ``mtime`` is ISO 8601, ``size`` bytes, ``export_path`` its path on its node."""

    id: str
    node_id: str
    export_path: str
    name: str
    size: int
    mtime: str
    inode: int
    mime_type: str | None
    status: str

    @classmethod
    def of(cls, record: FileRecord) -> FileAnswer:
        """The answer that shows a record."""
        return cls(
            id=record.file_id,
            node_id=record.node_id,
            export_path=record.export_path,
            name=record.name,
            size=record.size,
            mtime=format_time(record.mtime),
            inode=record.inode,
            mime_type=record.mime_type,
            status=record.status,
        )


class FilesAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A slice of the files. ``total`` is exact up to 1,000; beyond that ``more`` is true. ``cursor`` leads on."""

    items: list[FileAnswer]
    total: int
    offset: int
    limit: int
    more: bool = False
    cursor: str | None = None

    @classmethod
    def of(cls, page: Page[FileRecord]) -> FilesAnswer:
        """The answer that shows a page of ``find_files``."""
        return cls(
            items=[FileAnswer.of(record) for record in page.items],
            total=page.total,
            offset=page.offset,
            limit=page.limit,
            more=page.more,
            cursor=page.cursor,
        )
