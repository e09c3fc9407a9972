"""Telling the kernel what to forget, from a thread of its own.

Dropping a name or cached pages can wait in the kernel for a request that this very process has yet to answer, so it
never happens on the loop that answers requests.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyfuse3

from mosaicfs_vfs.fuse.table import Correction, ForgetName

_log = logging.getLogger(__name__)
# What the kernel does not know needs no forgetting; after the unmount it knows nothing.
_HARMLESS = frozenset({errno.ENOENT, errno.ENOTCONN, errno.ENODEV, errno.ENOTDIR, errno.EBADF})


class Notifier:
    """Sends corrections in the order they were made."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="mosaicfs-notify")
        self._closed = False

    def send(self, corrections: Sequence[Correction]) -> asyncio.Future[None]:
        """Queue corrections; the future ends when the kernel has taken them."""
        loop = asyncio.get_running_loop()
        if not corrections or self._closed:
            done: asyncio.Future[None] = loop.create_future()
            done.set_result(None)
            return done
        return loop.run_in_executor(self._executor, self._send, corrections)

    def close(self) -> None:
        """Stop; corrections not yet sent are dropped. Call before the session is closed."""
        self._closed = True
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _send(self, corrections: Sequence[Correction]) -> None:
        for correction in corrections:
            if self._closed:
                return
            try:
                if isinstance(correction, ForgetName):
                    pyfuse3.invalidate_entry(correction.parent, correction.name)
                else:
                    pyfuse3.invalidate_inode(correction.inode, attr_only=not correction.data)
            except OSError as error:
                if error.errno not in _HARMLESS:
                    _log.warning("The kernel did not take %r: %s", correction, error)
