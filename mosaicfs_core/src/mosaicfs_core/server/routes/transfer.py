"""This node's own files for other nodes: ``/api/agent/transfer``, for any app whose guard sets ``g.principal``."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from quart_schema import document_response, validate_querystring

from mosaicfs_core.content import ByteSource, Content
from mosaicfs_core.content.digests import sha256_of
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import NotAllowed, NotFound, Stale, Unavailable
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.server.listing import json_answer
from mosaicfs_core.server.state import principal
from mosaicfs_core.server.streaming import Streams, content_answer, digest_header

COMPUTED_LIMIT: Final = 256 << 20
"""Bytes of the largest file whose digest is computed for being asked for: others compare whole files of up to 50 MB."""
_ALLOWED: Final = frozenset({"node", "user", "local"})


class DigestQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Of which version: ``etag`` as an answer with the bytes told it; the present one without."""

    etag: Annotated[str, Meta(max_length=200)] | None = None


class DigestAnswer(msgspec.Struct, kw_only=True):
    """The digest of one version of a file; ``digest`` is written as ``Repr-Digest`` (RFC 9530)."""

    etag: str
    digest: str


def transfer_blueprint(core: CoreServices, streams: Streams) -> Blueprint:
    """The routes over this process's content."""
    blueprint = Blueprint("transfer", __name__, url_prefix="/api/agent/transfer")
    computing = _Computing(streams)

    async def opened(file_id: str) -> tuple[FileRecord, ByteSource]:
        record = _own_file(core, file_id)
        return record, cast(ByteSource, await core.content.open(record))

    @blueprint.get("/<file_id>")
    async def transfer(file_id: str) -> Response:
        """Get the bytes of a file of this node: whole or by ``Range``, conditionally, for other nodes."""
        record, source = await opened(file_id)
        return await content_answer(request, record, source, streams)

    @blueprint.get("/<file_id>/digest")
    @validate_querystring(DigestQuery)
    @document_response(DigestAnswer)
    async def digest(file_id: str, query_args: DigestQuery) -> Response:
        """Get the SHA-256 of a version of a file: remembered, or computed now if the file is not too large."""
        record, source = await opened(file_id)
        with source:
            await source.settle()
            etag = query_args.etag or source.etag
            if etag == source.etag:
                found = await computing.digest_of(source, record.export_path)
            else:
                found = await _remembered(cast(Content, core.content), record, etag)
        answer = json_answer(DigestAnswer(etag=etag, digest=digest_header(found)))
        answer.headers["Repr-Digest"] = digest_header(found)
        return answer

    return blueprint


def _own_file(core: CoreServices, file_id: str) -> FileRecord:
    """A file of this node. Raises ``NotFound`` for those of others, so that nodes never ask one another in a circle."""
    if principal().kind not in _ALLOWED:
        raise NotAllowed("only nodes and users may read files")
    ids.full_file_id(file_id)
    row = core.store.reader.file_by_id(file_id)
    if row is None or row.status != "active" or row.node_id != core.node_id:
        raise NotFound("this node has no such file")
    return row.record()


async def _remembered(content: Content, record: FileRecord, etag: str) -> bytes:
    found = await asyncio.to_thread(content.remembered_digest, record, etag)
    if found is None:
        raise Stale("the file is not the version you asked for")
    return found


class _Computing:
    """Digests that are computed for being asked for: each once, however many ask, and a few at a time."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._under_way: dict[tuple[str, str], asyncio.Task[bytes | None]] = {}

    async def digest_of(self, source: ByteSource, path: str) -> bytes:
        """The digest of an open file. Raises ``Unavailable`` for one that is not known and too large to be computed for
        an answer, ``Stale``."""
        if source.sha256 is not None:
            return source.sha256
        if source.descriptor is None or source.size > COMPUTED_LIMIT:
            raise Unavailable("the digest of this file is not known")
        key = (path, source.etag)
        task = self._under_way.get(key)
        if task is None:
            # Who asked first may leave: a descriptor of its own lets the work go on for the others.
            task = asyncio.create_task(self._compute(os.dup(source.descriptor)), name=f"digest of {path}")
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key))
        found = await asyncio.shield(task)
        if found is None:
            raise Stale("the file changed while it was read")
        if source.learn is not None:
            source.learn(found)
        return found

    async def _compute(self, descriptor: int) -> bytes | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._streams.hashing, sha256_of, descriptor)
        finally:
            os.close(descriptor)
