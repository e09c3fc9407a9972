"""Bytes to text, in whatever encoding they are."""

from __future__ import annotations

import codecs
import re
from typing import Final

_SAMPLE: Final = 32 * 1024
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS: Final = bytes({*range(32)} - {7, 8, 9, 10, 12, 13, 27})
_MOST_CONTROLS: Final = 0.02
_surrogate: Final = re.compile("[\ud800-\udfff]")


def decode_text(data: bytes) -> str | None:
    """The text that ``data`` (a file, or its beginning) is, None when it is none.

    UTF-8 and what carries a mark is known at once; UTF-16 without one is told by its NULs; the rest is guessed from a
    sample. What does not fit the encoding becomes U+FFFD.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return without_surrogates(data[len(mark) :].decode(encoding, "replace"))
    if (wide := _wide(data[:_SAMPLE])) is not None:
        return without_surrogates(data.decode(wide, "replace"))
    if not looks_like_text(data[:_SAMPLE]):
        return None
    try:
        # The last character of a beginning may be cut.
        text, _ = codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        return without_surrogates(data.decode(_guess(data), "replace"))
    return text


def looks_like_text(sample: bytes) -> bool:
    """Whether bytes may be text in an encoding that holds ASCII: hardly any control characters and no NUL."""
    if b"\0" in sample:
        return False
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return controls <= _MOST_CONTROLS * len(sample)


def without_surrogates(text: str) -> str:
    """A text without lone surrogates, which no UTF-8 can hold."""
    return _surrogate.sub("\ufffd", text) if _surrogate.search(text) else text


def _wide(sample: bytes) -> str | None:
    """UTF-16 by the places of its NULs: European text has one in every other byte."""
    even, odd = sample[0::2], sample[1::2]
    if len(odd) < 4:
        return None
    zeros_even, zeros_odd = even.count(0) / len(even), odd.count(0) / len(odd)
    if zeros_odd > 0.4 and zeros_even < 0.05:
        return "utf-16-le"
    if zeros_even > 0.4 and zeros_odd < 0.05:
        return "utf-16-be"
    return None


def _guess(data: bytes) -> str:
    # A slow import, for files that are rare by now.
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE]).best()
    return best.encoding if best is not None else "latin-1"
