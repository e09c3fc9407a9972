"""Which files of this machine the mount may open itself, kept up beside the tree.

To resolve a folder's path asks the disk, and a network file system that hangs does not answer. So each folder is
resolved in a thread of its own, which is left behind then: listings, and the other folders, do not wait for it.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from mosaicfs_core.content import native_roots, watch_roots
from mosaicfs_core.home import Home
from mosaicfs_core.store import Reader

_PATIENCE_S: Final = 0.5
"""How long a folder that is new is waited for; a disk at hand answers in no time."""
_AGAIN_S: Final = 5.0
"""How often folders are resolved anew: a link may lead elsewhere, and a mount of ours may have come."""


class LocalRoots:
    """The directories of this machine whose files may be opened, as the replica's plugin documents name them."""

    def __init__(self, home: Home) -> None:
        self.node_id = home.node_id()
        self._home = home
        self._provided: tuple[bytes, ...] = ()
        self._changed = threading.Condition()  # guards what follows
        self._configured: tuple[str, ...] = ()
        self._resolved: dict[str, bytes] = {}
        self._asked: set[str] = set()  # folders of which no answer has come yet
        self._asked_at = 0.0

    def __call__(self) -> tuple[bytes, ...]:
        with self._changed:
            return (*(self._resolved[root] for root in self._configured if root in self._resolved), *self._provided)

    def read(self, reader: Reader) -> None:
        """Take the roots as they are configured now."""
        documents = reader.documents_of("plugin", (self.node_id,))
        self._provided = native_roots((), self._home.bridge_dir / "files")
        with self._changed:
            former, self._configured = self._configured, watch_roots(documents, self.node_id)
            again = time.monotonic() - self._asked_at >= _AGAIN_S
            wanted = {root for root in self._configured if again or root not in former} - self._asked
            if again:
                self._asked_at = time.monotonic()
            for root in wanted:
                self._asked.add(root)
                threading.Thread(target=self._resolve, args=(root,), daemon=True).start()
            unknown = wanted - self._resolved.keys()
            self._changed.wait_for(lambda: not unknown & self._asked, timeout=_PATIENCE_S)

    def _resolve(self, root: str) -> None:
        (found,) = native_roots((root,))
        with self._changed:
            self._asked.discard(root)
            self._resolved[root] = found
            self._changed.notify_all()
