"""What steps are evaluated against: the facts of a file, and where labels and annotations come from when needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


class FileFacts(msgspec.Struct, frozen=True, gc=False):
    """The facts of a file that every step op may use.

    ``export_path`` is the written path, ``mtime`` is microseconds since the epoch, ``size`` bytes.
    """

    node_id: str
    export_path: str
    name: str
    size: int
    mtime: int
    mime_type: str | None = None


class FactsLookup(Protocol):
    """The facts that cost a look-up; asked only by chains whose ``needs`` name them."""

    def labels(self, facts: FileFacts, /) -> frozenset[str]:
        """The file's effective labels."""

    def annotation(self, facts: FileFacts, plugin_name: str, /) -> Mapping[str, Any] | None:
        """The ``data`` of the file's annotation by a plugin instance, or None when there is none that succeeded."""


class NoLookup:
    """A lookup of files that have neither labels nor annotations."""

    def labels(self, facts: FileFacts, /) -> frozenset[str]:
        """No labels."""
        return frozenset()

    def annotation(self, facts: FileFacts, plugin_name: str, /) -> Mapping[str, Any] | None:
        """No annotation."""
        return None
