"""What a control plane that was set back has lost and this machine still had: kept in a file before it goes here too.

Directories, rules and labels are somebody's work, and this replica may hold the last copy. Which of them are to come
back is for the owner to say. The rest of what is forgotten (files, annotations, machines, keys, settings) is told anew
by whose it is, or must not come back by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from mosaicfs_core.documents import times
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.home import write_private

logger = logging.getLogger(__name__)

_KEPT: Final = frozenset({"virtual_directory", "label_rule", "label_assignment"})
_NAME: Final = "forgotten-{}.{}.json"


class Forgotten:
    """The files of one home: each ``{"new_edits": false, "docs": [...]}``, the form that ``_bulk_docs`` takes, with
    what was given at once. Nothing of it stays in memory."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._since: str | None = None

    def begin(self) -> None:
        """What is kept from now on goes into files of their own."""
        self._since = times.now_text()[:19].replace(":", "")

    async def keep(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Keep those of the documents that are somebody's work; durable when this returns. Raises ``Unavailable`` where
        they cannot be written: they must not be forgotten then."""
        found = [one for one in documents if one.get("type") in _KEPT]
        if not found:
            return
        try:
            file = await asyncio.to_thread(self._write, found)
        except OSError as error:
            raise Unavailable(
                f"what the control plane does not know cannot be kept in {self._home}: {error}"
            ) from error
        said = "what the control plane does not know of directories and labels is kept in %s"
        logger.warning(said, file, extra={"operation": "replication"})

    def _write(self, documents: Sequence[Mapping[str, Any]]) -> Path:
        if self._since is None:
            self.begin()
        file = next(one for one in map(self._part, count(1)) if not one.exists())
        write_private(file, msgspec.json.encode({"new_edits": False, "docs": documents}))
        return file

    def _part(self, number: int) -> Path:
        return self._home / _NAME.format(self._since, f"{number:04d}")

    @property
    def told(self) -> str:
        """Where the newest are, for people; empty when there are none (any more)."""
        files = sorted(self._home.glob(_NAME.format("*", "*")))
        if not files:
            return ""
        newest = self._home / files[-1].name.replace(files[-1].suffixes[-2], ".*")
        several = len(list(self._home.glob(newest.name))) > 1
        return f"directories and labels that it does not know are kept in {newest if several else files[-1]}"
