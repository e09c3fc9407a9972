"""What a control plane that was set back has lost and this machine still had: kept in a file before it goes here too.

Directories, rules, labels and annotations are somebody's work, and this replica may hold the last copy. Which of them
are to come back is for the owner to say. The rest of what is forgotten (files, machines, keys, settings) is told anew
by whose it is, or must not come back by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from mosaicfs_core.documents import times
from mosaicfs_core.home import write_private

logger = logging.getLogger(__name__)

_KEPT: Final = frozenset({"virtual_directory", "label_rule", "label_assignment", "annotation"})
_NAME: Final = "forgotten-{}.json"


class Forgotten:
    """The files of one home: each ``{"new_edits": false, "docs": [...]}``, the form that ``_bulk_docs`` takes."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file: Path | None = None
        self._documents: dict[str, Mapping[str, Any]] = {}

    def begin(self) -> None:
        """What is kept from now on goes into a file of its own."""
        self._file, self._documents = None, {}

    async def keep(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Keep those of the documents that are somebody's work; durable when this returns."""
        found = {str(one["_id"]): one for one in documents if one.get("type") in _KEPT}
        if not found:
            return
        self._documents |= found
        if self._file is None:
            self._file = self._home / _NAME.format(times.now_text()[:19].replace(":", ""))
            said = "what the control plane does not know any more of directories and labels is kept in %s"
            logger.warning(said, self._file, extra={"operation": "replication"})
        body = msgspec.json.encode({"new_edits": False, "docs": list(self._documents.values())})
        await asyncio.to_thread(write_private, self._file, body)

    @property
    def told(self) -> str:
        """Where the newest is, for people; empty when there is none."""
        files = sorted(self._home.glob(_NAME.format("*")))
        return f"directories and labels that it has lost are kept in {files[-1]}" if files else ""
