"""The pyfuse3 adapter: requests of the kernel answered from the table, the tree and open files.

Almost every request is answered without suspending. ``flush``, ``access`` and extended attributes stay unimplemented on
purpose: the kernel then stops asking after the first time. ``forget`` does nothing: inode numbers are never reused.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import pyfuse3

from mosaicfs_core.documents.paths import unescape
from mosaicfs_core.errors import MosaicError, NotFound
from mosaicfs_vfs.fuse.attributes import Describer
from mosaicfs_vfs.fuse.handles import REMOTE_HANDLES, FileOpener, NotHere, OpenFiles
from mosaicfs_vfs.fuse.notify import Notifier
from mosaicfs_vfs.fuse.policy import ReadPolicy
from mosaicfs_vfs.fuse.remote import Stale
from mosaicfs_vfs.fuse.source import Source
from mosaicfs_vfs.fuse.space import BLOCK, Disks
from mosaicfs_vfs.fuse.table import ROOT_INODE, ForgetAttributes, Listed, Table
from mosaicfs_vfs.fuse.tree import Changes, Entry

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

_log = logging.getLogger(__name__)
_NAME_MAX: Final = 255
_DOTS: Final = 2
"""A directory lists itself and the one above it first."""
# How long a request may wait for another machine or for a membership to be built before it fails with EIO.
WAIT_S: Final = 30.0
# Changed directories listed between two turns of the event loop.
_AT_ONCE: Final = 64
_PAGED: Final = 50_000


def guarded(
    handler: Callable[Concatenate[S, P], Awaitable[T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Let only ``FUSEError`` out of a handler.

    Any other exception would vanish in the session's task and leave the caller hanging for ever.
    """

    @functools.wraps(handler)
    async def answer(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except NotFound:
            raise pyfuse3.FUSEError(errno.ENOENT) from None
        except TimeoutError:
            _log.warning("%s%r gave up after %g s", handler.__name__, args[:2], WAIT_S)
            raise pyfuse3.FUSEError(errno.EIO) from None
        except OSError as error:
            _log.info("%s%r failed: %s", handler.__name__, args[:2], error)
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        except MosaicError as error:
            _log.warning("%s%r failed: %s", handler.__name__, args[:2], error)
            raise pyfuse3.FUSEError(errno.EIO) from None
        except Exception:  # noqa: BLE001 - what leaves a handler ends the mount
            _log.exception("%s%r failed", handler.__name__, args[:2])
            raise pyfuse3.FUSEError(errno.EIO) from None

    return answer


class MountOperations(pyfuse3.Operations):
    """A read-only file system over a ``Source`` of listings and a ``FileOpener``."""

    supports_dot_lookup = False

    def __init__(
        self,
        source: Source,
        opener: FileOpener,
        notifier: Notifier,
        since: int,
        disks: Disks,
        policy: ReadPolicy | None = None,
    ) -> None:
        """``since`` (microseconds) is the time shown on directories that have none of their own, ``disks`` tells how
        large the tree is. ``policy`` says who may read files of other machines (default: everybody)."""
        super().__init__()
        self.started = asyncio.Event()
        self.table: Table[pyfuse3.EntryAttributes] = Table(describer := Describer(since), unescape)
        self._describe = describer
        self._source = source
        self._opener = opener
        self._disks = disks
        self._policy = policy or ReadPolicy()
        self._notifier = notifier
        self._root = describer.directory(ROOT_INODE, since)
        self._absent = describer.absent()
        self._files = OpenFiles()
        self._directories: dict[int, tuple[str, Listed[pyfuse3.EntryAttributes]]] = {}
        self._next_directory = 1
        self._generation = 0
        # Inodes whose pages in the kernel may be an older file's: the next open drops them.
        self._doubtful: set[int] = set()
        # Which version of a file the kernel's pages of an inode are of, for the files opened last. A file can change
        # before its document tells of it, and with the size and mtime that the document tells.
        self._paged: dict[int, object] = {}

    def init(self) -> None:
        """The kernel has agreed on the session; requests follow."""
        self.started.set()

    def close(self) -> None:
        """Close what is still open; the session is over."""
        self._files.close_all()

    # Names and attributes

    @guarded
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        """Attributes of a name; an absent one is remembered by the kernel until the directory changes."""
        if len(name) > _NAME_MAX:
            raise pyfuse3.FUSEError(errno.ENAMETOOLONG)
        listed = await self._list(self._path(parent_inode))
        position = listed.index.get(name)
        if position is not None:
            return listed.attributes[position]
        if self.table.get(listed.path) is listed and self.table.remember_absent(listed, name):
            return self._absent
        raise pyfuse3.FUSEError(errno.ENOENT)

    @guarded
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
        """Attributes of an inode the kernel knows; ESTALE makes it look the path up again."""
        if inode == ROOT_INODE:
            return self._root
        attributes = self.table.attributes.get(inode) or self._files.attributes(inode)
        if attributes is not None:
            return attributes
        path = self.table.paths.get(inode)
        if path is None:
            raise pyfuse3.FUSEError(errno.ESTALE)
        return self._describe.directory((await self._list(path)).inode, 0)

    async def forget(self, inode_list: Any) -> None:
        """Nothing is counted: inode numbers are never reused."""

    @guarded
    async def statfs(self, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.StatvfsData:
        """The disks of this machine behind the tree: it has no space of its own."""
        space = await self._disks.space()
        answer = pyfuse3.StatvfsData()
        answer.f_bsize = answer.f_frsize = BLOCK
        answer.f_blocks, answer.f_bfree, answer.f_bavail = space.blocks, space.free, space.available
        answer.f_files, answer.f_ffree, answer.f_favail = space.files, space.files_free, space.files_free
        answer.f_namemax = _NAME_MAX
        return answer

    # Directories

    @guarded
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> int:
        """A handle on the listing as it is now."""
        path = self._path(inode)
        listed = await self._list(path)
        handle = self._next_directory
        self._next_directory += 1
        self._directories[handle] = (path, listed)
        return handle

    @guarded
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with attributes from ``start_id`` on. A rewind sees a changed listing, a walk goes on in its own."""
        path, listed = self._directories[fh]
        if start_id == 0 and self.table.get(path) is not listed:
            listed = await self._list(path)
            self._directories[fh] = (path, listed)
        names, attributes, reply = listed.names, listed.attributes, pyfuse3.readdir_reply
        if start_id < _DOTS:
            parent = listed if path == "/" else await self._list(path.rpartition("/")[0] or "/")
            for position, (name, inode) in enumerate(((b".", listed.inode), (b"..", parent.inode))):
                if position >= start_id and not reply(token, name, self._describe.directory(inode, 0), position + 1):
                    return
        for position in range(max(0, start_id - _DOTS), len(names)):
            if not reply(token, names[position], attributes[position], position + _DOTS + 1):
                return

    @guarded
    async def releasedir(self, fh: int) -> None:
        """Drop a directory handle."""
        self._directories.pop(fh, None)

    # Files

    @guarded
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.FileInfo:
        """Open for reading. What is on disk is served even if the index says otherwise; the size is mended then."""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND):
            raise pyfuse3.FUSEError(errno.EROFS)
        entry = self.table.files.get(inode)
        if entry is None:
            raise pyfuse3.FUSEError(errno.EISDIR if inode in self.table.paths else errno.ESTALE)
        try:
            descriptor = self._opener.open_local(entry)
        except NotHere:
            return await self._open_elsewhere(inode, entry, 0 if ctx is None else ctx.pid)
        try:
            found = os.fstat(descriptor)
            agrees = self._agrees(inode, found)
            if not agrees:
                self._opener.differs(entry)
        except BaseException:
            os.close(descriptor)
            raise
        identity = (found.st_dev, found.st_ino)
        # The kernel has one set of pages for an inode. While an older file of it is open those are the older one's.
        aside = self._files.replaced(inode, identity)
        told = self.table.attributes[inode]
        handle = self._files.add_local(descriptor, inode, told, identity, _version(told))
        keep = self._keeps(inode, (*identity, found.st_ctime_ns), aside) and agrees
        return pyfuse3.FileInfo(fh=handle, keep_cache=keep, direct_io=aside)

    @guarded
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes of an open file; local ones in place, since a thread per read costs five times as much."""
        if fh < REMOTE_HANDLES:
            data = os.pread(fh, size, off)
            if len(data) < size:
                self._short(fh, off + len(data))
            return data
        return await self._read_elsewhere(fh, off, size)

    @guarded
    async def release(self, fh: int) -> None:
        """Close a file."""
        inode = self._files.inode_of(fh)
        if self._files.close(fh, _version(self.table.attributes.get(inode))):
            self._doubtful.add(inode)

    async def _open_elsewhere(self, inode: int, entry: Entry, pid: int) -> pyfuse3.FileInfo:
        # Taken first: while we wait the inode may leave the table.
        told = self.table.attributes[inode]
        async with asyncio.timeout(WAIT_S):
            file = await self._opener.open_elsewhere(entry)
        file.gate = self._policy.gate(pid, entry.name)
        aside = self._files.replaced(inode, file.version)
        handle = self._files.add_elsewhere(file, inode, told, _version(told))
        keep = self._keeps(inode, (file.version, file.doubted), aside)
        return pyfuse3.FileInfo(fh=handle, keep_cache=keep, direct_io=aside)

    def _keeps(self, inode: int, version: object, aside: bool) -> bool:
        """Whether the kernel's pages of an inode are of a version that is being opened; if not, it drops them.

        It then fills them with that version, unless the file is read ``aside`` of them.
        """
        keep = self._undoubted(inode) and self._paged.get(inode) == version
        if not aside:
            self._paged.pop(inode, None)
            self._paged[inode] = version
            if len(self._paged) > _PAGED:
                del self._paged[next(iter(self._paged))]
        return keep

    async def _read_elsewhere(self, handle: int, offset: int, size: int) -> bytes:
        """Bytes from another machine. The agent bounds the wait, for as long as bytes keep coming."""
        file = self._files.elsewhere[handle]
        inode = self._files.inode_of(handle)
        before = file.doubted
        try:
            data = await file.read(offset, size)
        except Stale:
            # The kernel has pages of the version that is gone: the next open drops them.
            self._doubtful.add(inode)
            raise
        if file.doubted != before:
            # The kernel may have pages from before the agent noticed, and asks nobody about them.
            self._paged.pop(inode, None)
            asyncio.get_running_loop().call_soon(self._notifier.send, [ForgetAttributes(inode, data=True)])
        if len(data) < size:
            self._short(handle, offset + len(data))
        return data

    # Changes

    async def apply(self, changes: Changes) -> None:
        """List what changed again and correct the kernel. When this raises, call it again with the same changes."""
        self._generation += 1
        corrections = self.table.changed_files(changes.inodes)
        affected = self.table.affected(changes)
        try:
            for start in range(0, len(affected), _AT_ONCE):
                for path, listing in await self._source.listings(affected[start : start + _AT_ONCE]):
                    if listing is None:
                        corrections += self.table.forget_below(path)
                    elif self.table.known(path):
                        corrections += self.table.install(listing)[1]
                await self._notifier.send(corrections)
                corrections = []
        finally:
            # After a failure too: what is in the table already would not differ the next time.
            sent = self._notifier.send(corrections)
        await sent

    async def _list(self, path: str) -> Listed[pyfuse3.EntryAttributes]:
        listed = self.table.get(path)
        if listed is not None:
            return listed
        async with asyncio.timeout(WAIT_S):
            generation = -1
            while generation != self._generation:
                # A refresh that ended meanwhile could not know of this listing: make sure that it is not older.
                generation = self._generation
                listings = await self._source.listing(path, functools.partial(self.table.following, path))
        # The one asked for comes last, so that the others cannot make it give up its room before it is answered from.
        for listing in reversed(listings):
            listed = self.table.get(listing.path)
            if listed is None:
                listed, corrections = self.table.install(listing)
                # Not awaited: the kernel may only take them after the request that is being answered here.
                self._notifier.send(corrections)
        assert listed is not None
        return listed

    def _path(self, inode: int) -> str:
        path = self.table.paths.get(inode)
        if path is None:
            raise pyfuse3.FUSEError(errno.ENOTDIR if inode in self.table.files else errno.ESTALE)
        return path

    def _agrees(self, inode: int, found: os.stat_result) -> bool:
        """Whether a file on disk is what the kernel was told; if not, it is given the attributes found on disk."""
        told = self.table.attributes[inode]
        mtime = found.st_mtime_ns // 1000
        if told.st_size == found.st_size and told.st_mtime_ns // 1000 == mtime:
            return True
        # In place, for the listing that holds these very attributes answers with them too.
        told.st_size, told.st_blocks = found.st_size, (found.st_size + 511) >> 9
        told.st_mtime_ns = told.st_ctime_ns = mtime * 1000
        pyfuse3.invalidate_inode(inode, attr_only=True)
        return False

    def _undoubted(self, inode: int) -> bool:
        """Whether the kernel's pages of an inode are the right ones; they are after the open that is told so."""
        if inode in self._doubtful:
            self._doubtful.discard(inode)
            return False
        return True

    def _short(self, handle: int, end: int) -> None:
        """A file ended where the kernel was told it goes on, and takes that for its size now: make it ask again."""
        inode = self._files.inode_of(handle)
        told = self.table.attributes.get(inode)
        if told is not None and told.st_size > end:
            asyncio.get_running_loop().call_soon(self._notifier.send, [ForgetAttributes(inode, data=False)])


def _version(attributes: pyfuse3.EntryAttributes | None) -> object:
    return None if attributes is None else (attributes.st_size, attributes.st_mtime_ns)
