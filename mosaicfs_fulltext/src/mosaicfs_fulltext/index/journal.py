"""Changes written down before they are in the index: what is acknowledged survives a kill.

Files of records in a directory, ``000000000042.log``: four bytes of length, four of CRC-32, a MessagePack object. A
record that a crash cut is the last one of its file and was acknowledged to nobody. Blocking code for one thread.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mosaicfs_fulltext.entries import Change

_HEAD: Final = 8
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Change).decode


class Journal:
    """The journal in a directory, which is made when it is absent."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._left = self._numbers()
        self._number = max(self._left, default=0)
        self._descriptor: int | None = None

    def replay(self) -> Iterator[Change]:
        """The changes that a former run wrote down and did not drop, in order."""
        for number in self._left:
            yield from _records(self._path(number).read_bytes())

    def append(self, changes: Sequence[Change]) -> None:
        """Write changes down, durably. Raises ``OSError``, having written nothing to speak of: the file is left behind
        and a new one begun."""
        if self._descriptor is None:
            self._begin()
        assert self._descriptor is not None
        data = b"".join(_record(_encode(change)) for change in changes)
        try:
            _write(self._descriptor, data)
            os.fdatasync(self._descriptor)
        except OSError:
            self.rotate()
            raise

    def rotate(self) -> int:
        """End the file; what comes next stands in another. Returns the number to ``drop`` once all of it is in the
        index."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        return self._number

    def drop(self, until: int) -> None:
        """Remove the files up to a number."""
        for number in self._numbers():
            if number <= until:
                self._path(number).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        self.rotate()

    def _begin(self) -> None:
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path(self._number), flags, 0o600)
        directory = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._directory.glob("*.log") if path.stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012}.log"


def _record(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def _records(data: bytes) -> Iterator[Change]:
    at = 0
    while at + _HEAD <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        body = data[at + _HEAD : at + _HEAD + size]
        if len(body) != size or zlib.crc32(body) != int.from_bytes(data[at + 4 : at + _HEAD], "big"):
            return
        yield _decode(body)
        at += _HEAD + size


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
