"""The texts of an index, compressed with a dictionary that was learnt from its first ones.

A text by itself is too short to compress well: what it has in common with others stands in the dictionary, so that a
snippet still costs the unpacking of one text and no more. Each compressed text says by which dictionary it was made;
the first ones are by none. The dictionary is a file of the index, there from its beginning (empty until something is
learnt), so that one that is gone is noticed. It never changes once it is learnt.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Final

import zstandard

DICTIONARY: Final = "dictionary"
"""The file's name: four bytes of CRC-32, the dictionary."""

_HEAD: Final = 4
_LEVEL: Final = 3
_SIZE: Final = 256 * 1024
_LEARN_FROM: Final = 3 * 1024 * 1024
"""Bytes of texts, of each no more than ``_MOST_OF_ONE``: some thousand files, a moment after the first."""
_MOST_OF_ONE: Final = 8 * 1024


class Unreadable(Exception):
    """A dictionary or a compressed text is not as it was written. The message is a sentence without a full stop."""


class Texts:
    """The texts of the index in a directory. Raises ``Unreadable`` when its dictionary is gone or damaged.

    ``pack`` and ``learn_from`` are for one thread, ``unpack`` for any.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / DICTIONARY
        self._samples: list[bytes | bytearray | memoryview] = []
        self._sampled = 0
        self._use(_read(self._path))

    @staticmethod
    def prepare(directory: Path) -> None:
        """Begin with an empty dictionary, for an index that is to be made. Raises ``OSError``."""
        _write(directory / DICTIONARY, b"")

    @property
    def learnt(self) -> bool:
        """Whether there is a dictionary that something was learnt into."""
        return self._dictionary is not None

    def learn_from(self, packed: bytes) -> None:
        """Learn from a text that a former run kept. Raises what ``pack`` and ``unpack`` raise."""
        if not self.learnt:
            self._learn(self.unpack(packed).encode())

    def pack(self, text: str) -> bytes:
        """A text compressed. Raises ``OSError`` when what was learnt cannot be written."""
        data = text.encode("utf-8", "replace")
        if not self.learnt:
            self._learn(data)
        return self._compressor.compress(data)

    def unpack(self, packed: bytes) -> str:
        """The text again."""
        try:
            return zstandard.ZstdDecompressor(dict_data=self._dictionary).decompress(packed).decode()
        except (zstandard.ZstdError, UnicodeDecodeError) as error:
            raise Unreadable(f"a text cannot be unpacked: {error}") from error

    def _learn(self, data: bytes) -> None:
        self._samples.append(data[:_MOST_OF_ONE])
        self._sampled += len(self._samples[-1])
        if self._sampled < _LEARN_FROM:
            return
        samples, self._samples, self._sampled = self._samples, [], 0
        try:
            # The fixed parameters spare it the search for the best ones, which takes a hundred times as long.
            learnt = zstandard.train_dictionary(_SIZE, samples, k=64, d=6).as_bytes()
        except zstandard.ZstdError:
            return  # nothing is to be learnt of these; others will come
        _write(self._path, learnt)
        self._use(learnt)

    def _use(self, learnt: bytes) -> None:
        self._dictionary = zstandard.ZstdCompressionDict(learnt, zstandard.DICT_TYPE_FULLDICT) if learnt else None
        if self._dictionary is not None:
            self._dictionary.precompute_compress(level=_LEVEL)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, dict_data=self._dictionary)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise Unreadable("its dictionary is gone") from error
    if len(data) < _HEAD or zlib.crc32(data[_HEAD:]) != int.from_bytes(data[:_HEAD], "big"):
        raise Unreadable("its dictionary is not as it was written")
    return data[_HEAD:]


def _write(path: Path, learnt: bytes) -> None:
    """Durably, before any text is made with it."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(zlib.crc32(learnt).to_bytes(_HEAD, "big") + learnt)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
