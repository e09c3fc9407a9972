"""Bytes to text, in whatever encoding they are. Pure."""

from __future__ import annotations

import codecs
from typing import Final

_SAMPLE: Final = 32 << 10
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> str:
    """The text that ``data`` is. UTF-8 and what carries a mark is known at once, the rest is guessed from a sample;
    what does not fit becomes U+FFFD."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # A slow import, for files that are rare by now.
        from charset_normalizer import from_bytes

        best = from_bytes(data[:_SAMPLE]).best()
        return data.decode(best.encoding if best is not None else "latin-1", "replace")
