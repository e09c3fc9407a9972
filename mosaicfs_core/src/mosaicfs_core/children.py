"""Other ``mosaicfs`` programs as children of this one: started, and heard out until they are ready or have ended.

A child says in one line of JSON on its standard output that it is ready. If it ends instead, its last line on standard
error says why, as the command line prints errors with ``--json``.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Final

from mosaicfs_core.errors import MosaicError, Unavailable, error_told

PROGRAM: Final = "from mosaicfs_core.cli.main import main; main()"
_UNREAD: Final = 1 << 20
"""Bytes that a child may print before it is ready while nobody reads them."""
_MOST_TOLD: Final = 4 << 20
_LOOK_S: Final = 0.05
"""How often it is looked at how much a program has printed."""
_END_S: Final = 1.0
"""How long a child that closed its standard output may take to end by itself."""


def command(home: Path, *words: str, python: Path | None = None) -> list[str]:
    """The command that runs ``mosaicfs`` with these words on a home, answering in JSON: with this Python, or with that
    of another environment, which then has nothing but what is installed there."""
    interpreter = [sys.executable] if python is None else [os.fspath(python), "-I"]
    return [*interpreter, "-c", PROGRAM, "--json", "--home", os.fspath(home), *words]


def start(
    what: str,
    words: list[str],
    *,
    tied: bool = False,
    log: Path | None = None,
    cwd: str | None = None,
    timeout: float | None = None,
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a child in a session of its own, and return it with what it says once it is ready; blocks.

    ``words`` are the whole command. A ``tied`` child has a pipe as standard input, whose other end is the child's
    ``stdin`` here. What it prints as an error goes to the end of the file ``log``, or nowhere once it is ready. Raises
    the child's own error, ``Unavailable`` when it is not ready after ``timeout`` seconds (``what`` it is, in words) or
    ends without a reason, and ``OSError`` when it cannot be started.
    """
    with ExitStack() as stack:
        errors: IO[bytes] | int = subprocess.PIPE
        begun = 0
        if log is not None:
            errors = stack.enter_context(open(log, "ab", opener=private))
            begun = errors.tell()
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            cwd=cwd,
        )
    assert child.stdout is not None
    line, ended = _line(child.stdout, timeout)
    if not line:
        told = _end(child)
        if not ended:
            raise Unavailable(f"{what} did not answer in time")
        if log is None:
            raise failure(told, child.returncode)
        told = _from(log, begun)
        if not told and shutil.disk_usage(log.parent).free == 0:
            raise Unavailable(f"{what} ended with {child.returncode}; the disk of {log}, where it says why, is full")
        raise failure(told, child.returncode)
    close(child.stdout, child.stderr)
    return child, dict(json.loads(line))


def hear_out(
    words: list[str], timeout: float, environment: Mapping[str, str] | None = None, *, most: int | None = None
) -> tuple[int, bytes, bytes]:
    """Exit code, output and errors of a stranger's program, which reads nothing and leaves nothing of its session
    running; blocks. ``environment`` is all of its own (None: ours). Files take what it prints: something that it
    started may hold a pipe for ever. One that has printed more than ``most`` bytes is killed; other files that
    it writes are not ours to limit. Raises ``subprocess.TimeoutExpired``, and ``OSError`` when it cannot be started.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout) if most is None else _wait_watching(process, timeout, (output, errors), most)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return code, _beginning(output), _beginning(errors)


def _wait_watching(process: subprocess.Popen[bytes], timeout: float, printed: Sequence[IO[bytes]], most: int) -> int:
    """The exit code of a program that is killed when it has printed more than ``most`` bytes. Raises as ``wait``."""
    ends = time.monotonic() + timeout
    while True:
        left = ends - time.monotonic()
        try:
            return process.wait(max(0.0, min(_LOOK_S, left)))
        except subprocess.TimeoutExpired:
            if sum(os.fstat(file.fileno()).st_size for file in printed) > most:
                process.kill()
                return process.wait()
            if left <= _LOOK_S:
                raise


def _beginning(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(_MOST_TOLD)


async def start_here(
    what: str, words: list[str], timeout: float, environment: Mapping[str, str] | None = None
) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """As ``start``, for a ``tied`` child whose end the loop awaits. ``environment`` is all of its own (None: ours). If
    it does not get ready, what it has started ends with it."""
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=environment,
        limit=_UNREAD,
    )
    try:
        async with asyncio.timeout(timeout):
            return child, await _facts(what, child)
    except BaseException as error:
        # Nobody listens to it any more, nor to what it has started.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        if isinstance(error, TimeoutError):
            raise Unavailable(f"{what} did not answer within {timeout:g} s") from None
        raise


async def _facts(what: str, child: asyncio.subprocess.Process) -> dict[str, Any]:
    """What a child says once it is ready. Raises its own error, or ``Unavailable``."""
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        line = await child.stdout.readline()
        if not line:
            told = await child.stderr.read()
            raise failure(told, await child.wait())
        return dict(json.loads(line))
    except (ValueError, TypeError):  # a line without end is a ValueError as well
        raise Unavailable(f"{what} said something else than that it is ready") from None


def failure(told: bytes, code: int) -> MosaicError:
    """The error that a child ended with, from what it printed and its exit code."""
    lines = told.decode(errors="replace").strip().splitlines()
    for line in reversed(lines):
        try:
            error = json.loads(line)["error"]
            return error_told(str(error["code"]), str(error["message"]), otherwise=Unavailable)
        except (ValueError, KeyError, TypeError):
            continue
    return Unavailable(lines[-1].removeprefix("mosaicfs: ") if lines else f"it ended with {code}, without a word")


def close(*streams: IO[bytes] | None) -> None:
    """Close what there is of these."""
    for stream in streams:
        if stream is not None:
            stream.close()


def private(path: str, flags: int) -> int:
    """Opens a file that its owner alone may read, for ``open(opener=…)``."""
    return os.open(path, flags, 0o600)


def _line(output: IO[bytes], timeout: float | None) -> tuple[bytes, bool]:
    """The child's line, and whether its output has ended; the line is empty when it ended or stayed silent."""
    deadline = None if timeout is None else time.monotonic() + timeout
    received = b""
    while not received.endswith(b"\n"):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([output], [], [], left)[0]:
            return b"", False
        part = os.read(output.fileno(), 65536)
        if not part:
            return b"", True
        received += part
    return received, False


def _end(child: subprocess.Popen[bytes]) -> bytes:
    """What a child that will not get ready has printed as errors to us; it is gone afterwards."""
    try:
        _, told = child.communicate(timeout=_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        _, told = child.communicate()
    close(child.stdin)
    return told or b""


def _from(log: Path, begun: int) -> bytes:
    with open(log, "rb") as file:
        file.seek(begun)
        return file.read()
