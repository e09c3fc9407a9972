"""From a file on disk to its text. Blocking code for worker threads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mosaicfs_core.hooks.reading import decode_text, looks_like_text
from mosaicfs_fulltext.extraction.kinds import Kind
from mosaicfs_fulltext.extraction.messages import Caps, Extracted, Wish
from mosaicfs_fulltext.extraction.pool import Pool
from mosaicfs_fulltext.settings import WIDEST, Settings

_LOOK: Final = 8 * 1024
_UNPACKED: Final = 8


class Extractor:
    """Reads files by the settings of an instance."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        most = settings.max_file_bytes
        self._caps = Caps(characters=settings.max_characters, pages=settings.max_pages, unpacked=_UNPACKED * most)
        self.pool = Pool(settings.extractors, settings.memory_mb, settings.max_seconds)

    def read_text(self, path: Path, kind: Kind) -> Extracted:
        """The text of a file that is text, or looks like it. Raises ``OSError``."""
        most = self._settings.max_characters
        with _regular_file(path) as descriptor:
            beginning = os.read(descriptor, _LOOK)
            if kind.way == "look" and not (looks_like_text(beginning) or decode_text(beginning) is not None):
                return Extracted()
            text = decode_text(beginning + _rest(descriptor, most * WIDEST - len(beginning)))
        return Extracted(text=(text or "")[:most])

    def read_document(self, path: Path, kind: Kind) -> Extracted:
        """The text of a document, read by a child process. Raises ``OSError`` when there is no such file."""
        with _regular_file(path) as descriptor:
            size = os.fstat(descriptor).st_size
        if size == 0:
            return Extracted()
        if size > self._settings.max_file_bytes:
            return Extracted(problem=f"it is larger than {self._settings.max_file_mb:,} MB")
        return self.pool.read(Wish(path=os.fsencode(path), mime_type=kind.mime_type, caps=self._caps))

    def close(self) -> None:
        """Kill the child processes."""
        self.pool.close()


@contextmanager
def _regular_file(path: Path) -> Iterator[int]:
    """A descriptor of a file that is one: opening a pipe or a device must not hang."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(f"{path} is no file any more")
        yield descriptor
    finally:
        os.close(descriptor)


def _rest(descriptor: int, most: int) -> bytes:
    parts: list[bytes] = []
    while most > 0 and (part := os.read(descriptor, min(most, 1 << 20))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)
