"""HTTP byte ranges (RFC 9110, section 14) as pure functions over text and numbers."""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

MAX_RANGES: Final = 64
_SPEC: Final = re.compile(r"(\d{0,19})\s*-\s*(\d{0,19})", re.ASCII)


class ByteRange(NamedTuple):
    """Bytes ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """The value of ``Content-Range`` for this part of a file of ``size`` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def parse_range(header: str | None, size: int) -> list[ByteRange] | None:
    """The ranges that a ``Range`` header asks of a file of ``size`` bytes, in the order asked, cut at its end.

    None: serve the whole file (no header, another unit, bad syntax, or more ranges or bytes than is sensible, all of
    which a server may ignore). An empty list: well-formed, but nothing of it lies inside the file (416).
    """
    if header is None:
        return None
    unit, separator, specs = header.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    parts = [part.strip() for part in specs.split(",")]
    parts = [part for part in parts if part]
    if not parts or len(parts) > MAX_RANGES:
        return None
    wanted: list[ByteRange] = []
    for part in parts:
        match = _SPEC.fullmatch(part)
        if match is None or not (match[1] or match[2]):
            return None
        found = _resolve(match[1], match[2], size)
        if found is None:
            return None
        if found.length > 0:
            wanted.append(found)
    # Overlapping ranges can ask for many times the file: an attack or a mistake, and the whole file answers both.
    if sum(part.length for part in wanted) > size:
        return None
    return wanted


def _resolve(first: str, last: str, size: int) -> ByteRange | None:
    """One range spec inside ``size`` bytes; empty when it lies outside, None when its syntax is wrong."""
    if not first:
        return ByteRange(max(0, size - int(last)), size)
    start = int(first)
    if last and int(last) < start:
        return None
    stop = min(size, int(last) + 1) if last else size
    return ByteRange(min(start, stop), stop)


class MultipartRanges:
    """The framing of a ``multipart/byteranges`` answer: what stands before each part and at the end."""

    def __init__(self, parts: list[ByteRange], size: int, mime_type: str) -> None:
        self.boundary = "mosaicfs-" + secrets.token_hex(12)
        self.parts = parts
        opening = f"\r\n--{self.boundary}\r\nContent-Type: {mime_type}\r\nContent-Range: "
        self.heads = [f"{opening}{part.content_range(size)}\r\n\r\n".encode() for part in parts]
        self.tail = f"\r\n--{self.boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        """The value of ``Content-Type``."""
        return f"multipart/byteranges; boundary={self.boundary}"

    @property
    def length(self) -> int:
        """The length of the whole answer in bytes."""
        return sum(map(len, self.heads)) + sum(part.length for part in self.parts) + len(self.tail)
