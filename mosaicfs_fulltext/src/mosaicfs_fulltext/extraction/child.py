"""A process that reads documents: ``python -m mosaicfs_fulltext.extraction.child MEMORY_MB``.

It takes wishes from its standard input and writes answers to its standard output, one at a time, until the input ends.
It is killed when it takes too long, and ends with its parent.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import BinaryIO, Final

import msgspec

from mosaicfs_core.hooks.reading import limit_reader
from mosaicfs_fulltext.extraction.messages import MOST_FRAME, Extracted, Wish

_PR_SET_PDEATHSIG: Final = 1


def main(memory_mb: int, parent: int) -> None:
    """Serve until the input ends."""
    limit_reader(memory_mb)
    answers = _answers()
    _end_with(parent)
    from mosaicfs_fulltext.extraction.documents import extract

    decoder, encoder = msgspec.msgpack.Decoder(Wish), msgspec.msgpack.Encoder()
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        try:
            answer = extract(decoder.decode(frame))
        except (OSError, MemoryError, ValueError) as error:
            answer = Extracted(problem=str(error) or type(error).__name__)
        write_frame(answers, encoder.encode(msgspec.structs.replace(answer, resident_kb=_resident_kb())))


def _resident_kb() -> int:
    """What this process holds in memory. On Linux its peak says nothing of that: a program begins with the peak of
    whoever started it."""
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as facts:
            return int(facts.read().split()[1]) * resource.getpagesize() // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # bytes, on macOS


def read_frame(pipe: BinaryIO) -> bytes | None:
    """The next frame, None at the end. Raises ``EOFError`` for a cut one."""
    head = pipe.read(4)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    body = pipe.read(size) if size <= MOST_FRAME else b""
    if len(body) != size:
        raise EOFError(f"a frame of {size} bytes was cut after {len(body)}")
    return body


def write_frame(pipe: BinaryIO, frame: bytes) -> None:
    """Write a frame."""
    pipe.write(len(frame).to_bytes(4, "big") + frame)
    pipe.flush()


def _answers() -> BinaryIO:
    """The pipe for answers; what else is printed to standard output goes nowhere."""
    own = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return os.fdopen(own, "wb")


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
