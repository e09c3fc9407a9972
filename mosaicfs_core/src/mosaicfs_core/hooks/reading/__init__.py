"""What plugins that read files need again and again: bytes in any encoding to text, OpenDocument slides to text, and
limits for a process that reads what may be hostile.

Not a part of ``mosaicfs_core.hooks`` itself, so that only who reads files imports it.
"""

from mosaicfs_core.hooks.reading.decoding import decode_text, looks_like_text, without_surrogates
from mosaicfs_core.hooks.reading.limits import limit_reader
from mosaicfs_core.hooks.reading.slides import SLIDES, Slides, read_slides

__all__ = [
    "SLIDES",
    "Slides",
    "decode_text",
    "limit_reader",
    "looks_like_text",
    "read_slides",
    "without_surrogates",
]
