"""What crosses the pipe between the plugin and the processes that read documents. Pure values.

A frame is four bytes of length, big-endian, and a MessagePack object of that length.
"""

from __future__ import annotations

from typing import Final

import msgspec

MOST_FRAME: Final = 512 * 1024 * 1024


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What one document may cost: characters of text, pages, bytes once unpacked."""

    characters: int
    pages: int
    unpacked: int


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A document to read: the bytes of its path, and what it is."""

    path: bytes
    mime_type: str
    caps: Caps


class Extracted(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a file; ``problem`` says why there is none, in a sentence without a full stop.

    ``resident_kb`` is how much memory the process that read it holds.
    """

    text: str = ""
    title: str = ""
    problem: str | None = None
    resident_kb: int = 0
