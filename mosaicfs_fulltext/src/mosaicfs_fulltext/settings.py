"""The settings of an instance: their schema for people and forms, and their values as a struct. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from mosaicfs_fulltext.language import LANGUAGES

WORKERS: Final = 64
"""Events at once, as many as an instance may be given. They share one write to disk, so that many at once cost little
more than one, and the more there are, the less the processor waits for that. Large texts among them
wait for one another (``budget``)."""

WIDEST: Final = 4
"""Bytes of the widest character, in a file as in memory."""
_MEGA: Final = 1024 * 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance was told. Sizes in the units of their names; ``languages`` empty means all that are known."""

    backend: Literal["embedded", "meilisearch"] = "embedded"
    meilisearch_url: str = "http://127.0.0.1:7700"
    meilisearch_key: str = ""
    meilisearch_index: str = "mosaicfs"
    languages: tuple[str, ...] = ()
    max_file_mb: int = 64
    max_text_kb: int = 2048
    max_pages: int = 2000
    max_seconds: int = 30
    memory_mb: int = 1024
    extractors: int = 2

    @property
    def place(self) -> str:
        """Where the index is: another place is another index."""
        if self.backend == "embedded":
            return self.backend
        return f"{self.backend} {self.meilisearch_url.rstrip('/')} {self.meilisearch_index}"

    @property
    def max_file_bytes(self) -> int:
        """The largest document whose text is taken."""
        return self.max_file_mb * _MEGA

    @property
    def max_characters(self) -> int:
        """How much text of one file is indexed."""
        return self.max_text_kb * 1024

    def most_bytes_of(self, size: int) -> int:
        """How much memory the text of a text file of ``size`` bytes may take."""
        return WIDEST * min(size, self.max_characters)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings in an instance's ``config``, which the host has checked against ``SCHEMA``; what is not ours in it
    is left alone."""
    return msgspec.convert(dict(config), Settings)


def _whole(title: str, default: int, least: int, most: int, description: str) -> dict[str, Any]:
    bounds = {"minimum": least, "maximum": most, "default": default}
    return {"type": "integer", "title": title, "description": description, **bounds}


SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "backend": {
            "type": "enum",
            "values": ["embedded", "meilisearch"],
            "default": "embedded",
            "title": "Where the index is",
            "description": "embedded: on this machine, nothing to install. meilisearch: a server of yours.",
        },
        "meilisearch_url": {
            "type": "string",
            "pattern": "^https?://[^/]+",
            "default": "http://127.0.0.1:7700",
            "title": "Meilisearch server",
            "description": "An http or https address.",
        },
        "meilisearch_key": {
            "type": "secret",
            "title": "Meilisearch key",
            "description": "A key that may create indexes, change settings, add, delete and search documents.",
        },
        "meilisearch_index": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9_-]{1,400}$(?!\n)",
            "default": "mosaicfs",
            "title": "Meilisearch index",
            "description": "A name of letters, digits, - and _. Machines that share it share the index.",
        },
        "languages": {
            "type": "array",
            "items": {"type": "enum", "values": list(LANGUAGES)},
            "uniqueItems": True,
            "default": [],
            "title": "Languages",
            "description": "Languages of your documents, for finding words in all their forms. Empty: all of these.",
        },
        "max_file_mb": _whole("Largest document (MB)", 64, 1, 4096, "Larger ones are found by their names alone."),
        "max_text_kb": _whole("Text per file (thousand characters)", 2048, 16, 65536, "What is beyond is left out."),
        "max_pages": _whole("Pages per document", 2000, 1, 100000, "What is beyond is left out."),
        "max_seconds": _whole("Time per document (s)", 30, 1, 3600, "How long reading one document may take."),
        "memory_mb": _whole("Memory per reader (MB)", 1024, 256, 65536, "Documents that need more are given up."),
        "extractors": _whole("Readers", 2, 1, 32, "How many documents are read at once."),
    },
}
