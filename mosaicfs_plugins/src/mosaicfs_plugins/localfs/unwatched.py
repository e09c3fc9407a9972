"""The directories that the system will not watch, and what the user has been told of them."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Final

from mosaicfs_core.hooks import PluginContext, Problem

REPORTED: Final = 100
"""Unwatched directories reported by name."""


class Unwatched(dict[str, str]):
    """Each with the system's reason, by native path."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    @property
    def untold(self) -> set[str]:
        """Those that are new since the last ``report``."""
        return self.keys() - self._told

    def forget(self, starts: Collection[str]) -> None:
        """Take out what lies at or beneath one of these directories."""
        wanted = {start.rstrip("/") for start in starts}
        for path in list(self):
            above = path.rstrip("/")
            while above and above not in wanted:
                above = above.rpartition("/")[0]
            if above in wanted:
                del self[path]

    def report(self, context: PluginContext) -> list[Problem]:
        """What to tell now: new ones, and those that are none any more."""
        problems: list[Problem] = []
        for directory in sorted(self.untold)[:REPORTED]:
            message = f"cannot be watched, polled instead: {self[directory]}"
            problems.append(Problem(kind="watch", export_path=_written(context, directory), message=message))
        gone = [_written(context, directory) for directory in sorted(self._told - self.keys())]
        self._told = set(self)
        return problems + [Problem(kind="watch", export_path=path, resolved=True) for path in gone]


def _written(context: PluginContext, directory: str) -> str:
    return context.written(os.fsencode(directory))
