"""Access tiers: the ways to reach a file's bytes, tried by rising cost. Here is the first, the file on this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from mosaicfs_core.content.digests import DigestBook, unchanged
from mosaicfs_core.content.source import ByteSource, LocalSource
from mosaicfs_core.documents import paths
from mosaicfs_core.errors import MosaicError, NotAllowed, NotFound, Unavailable
from mosaicfs_core.hooks import FileRecord

OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""A last component that is a link is refused by the kernel; a pipe in a file's place cannot block the opener."""


class AccessTier(Protocol):
    """A way to reach files. ``cost`` orders the tiers; the cheapest that serves a file wins."""

    @property
    def name(self) -> str:
        """A short name for logs and answers."""

    @property
    def cost(self) -> int:
        """Rising with expense; the local tier is 10."""

    def serves(self, file: FileRecord) -> bool:
        """Whether it is worth trying for this file; cheap, no I/O."""

    async def open(self, file: FileRecord) -> ByteSource:
        """Open the file. Raises a ``MosaicError`` within a bounded time, upon which the next tier is tried."""


class LocalTier:
    """Files of this node that lie under a watched or bridge root.

    ``roots`` answers the resolved native roots of the moment. ``on_change`` is told of a file whose size or mtime is
    not the document's any more: what is on disk is served, and the file should be indexed again. It is called from
    whatever thread opened the file.
    """

    name = "local"
    cost = 10

    def __init__(
        self,
        node_id: str,
        roots: Callable[[], Sequence[bytes]],
        on_change: Callable[[FileRecord], None] | None = None,
        bridge_files: Path | None = None,
        digests: DigestBook | None = None,
    ) -> None:
        self._node_id = node_id
        self._digests = digests
        self._roots = roots
        self._on_change = on_change
        self._bridge_files = None if bridge_files is None else os.fsencode(bridge_files)

    def serves(self, file: FileRecord) -> bool:
        """Only this node's own files."""
        return file.node_id == self._node_id

    async def open(self, file: FileRecord) -> ByteSource:
        """As ``open_now``, in a worker thread."""
        opening = asyncio.ensure_future(asyncio.to_thread(self.open_now, file))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise

    def open_now(self, file: FileRecord) -> LocalSource:
        """Open the file, checked; blocks. Raises ``NotFound``, ``NotAllowed`` or ``Unavailable``."""
        source = LocalSource(self.open_fd(file), self.name)
        if self._on_change is not None and (source.size, source.mtime) != (file.size, file.mtime):
            self._on_change(file)
        if self._digests is not None:
            self._attach(self._digests, source, file.export_path)
        return source

    @staticmethod
    def _attach(digests: DigestBook, source: LocalSource, path: str) -> None:
        source.sha256 = digests.get(path, source.etag)
        if source.sha256 is None:

            def learn(digest: bytes) -> None:
                # What was hashed is the version of the ETag only if the file is it still.
                if source.descriptor is not None and unchanged(source.descriptor, source.etag):
                    digests.put(path, source.etag, digest)

            source.learn = learn

    def open_fd(self, file: FileRecord) -> int:
        """A descriptor for reading, the caller's to close. The check is made on what was opened, so nothing that is
        swapped in meanwhile gets past it."""
        path = paths.unescape(file.export_path)
        if self._bridge_files is not None:
            try:
                return open_beneath(self._bridge_files + path, self._roots(), file)
            except NotFound:  # not a plugin's file
                pass
        return open_beneath(path, self._roots(), file)


def _close_unwanted(opening: asyncio.Future[LocalSource]) -> None:
    """Close what was opened for somebody who has gone meanwhile."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def open_beneath(path: bytes, roots: Sequence[bytes], file: FileRecord) -> int:
    """A descriptor of the regular file at a native path that lies under one of the resolved roots; blocks.

    Raises ``NotFound``, ``NotAllowed`` or ``Unavailable``, worded about ``file``.
    """
    try:
        descriptor = os.open(path, OPEN_FLAGS)
    except (OSError, ValueError) as error:
        raise _refusal(file, error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotFound(f"{file.export_path} is not a regular file any more", path=file.export_path)
        if not is_beneath(real_path(descriptor, path), roots):
            raise NotAllowed(f"{file.export_path} lies outside the watched folders", path=file.export_path)
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_beneath(path: bytes, roots: Sequence[bytes]) -> bool:
    """Whether a resolved path lies under one of the resolved roots."""
    return any(path.startswith(root if root.endswith(b"/") else root + b"/") for root in roots)


def real_path(descriptor: int, path: bytes) -> bytes:
    """The resolved path of an open file: from the kernel where it tells, else by resolving ``path`` and making sure
    that the same file is there."""
    if sys.platform == "linux":
        try:
            return os.readlink(b"/proc/self/fd/%d" % descriptor)
        except FileNotFoundError:  # no /proc here
            pass
    resolved = os.path.realpath(path)
    opened, there = os.fstat(descriptor), os.lstat(resolved)
    if (opened.st_dev, opened.st_ino) != (there.st_dev, there.st_ino):
        raise Unavailable("the file was replaced while it was being opened", retry_after=0)
    return resolved


def _refusal(file: FileRecord, error: OSError | ValueError) -> MosaicError:
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    if number in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENXIO):
        return NotFound(f"{file.export_path} is not on disk any more", path=file.export_path)
    if number in (errno.ELOOP, errno.EMLINK):
        return NotAllowed(f"{file.export_path} is a symbolic link now", path=file.export_path)
    reason = os.strerror(number) if number else str(error)
    return Unavailable(f"{file.export_path} cannot be opened: {reason}", path=file.export_path)
