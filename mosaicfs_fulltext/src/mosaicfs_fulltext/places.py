"""Where a file's bytes can be read on this machine: in place, or in a copy made for the moment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from mosaicfs_core.hooks import FileRecord, PluginContext, Unavailable, UserError


class TooLarge(Exception):
    """A file of another node is too large to be copied for reading."""


@asynccontextmanager
async def readable(context: PluginContext, file: FileRecord, local_path: str | None, most: int) -> AsyncIterator[Path]:
    """A path to read the file from. A copy, of at most ``most`` bytes, goes with the block: of a file of another
    machine, and of one whose name is no text, so that the host can tell no path of it.

    Raises ``TooLarge``, and what ``open_file`` raises: ``NotFound`` when it is gone.
    """
    path = _in_place(context, local_path) or await context.local_path(file)
    if path is not None:
        yield path
    else:
        if file.size > most:
            raise TooLarge
        async with _copy(context, file, most) as copy:
            yield copy


def _in_place(context: PluginContext, local_path: str | None) -> Path | None:
    if local_path is None:
        return None
    # The host has looked whether it is there; should it have gone since, that shows when it is opened.
    try:
        return Path(os.fsdecode(context.native(local_path)))
    except UserError:
        return Path(local_path)


@asynccontextmanager
async def _copy(context: PluginContext, file: FileRecord, most: int) -> AsyncIterator[Path]:
    directory = context.state_dir / "reading"
    directory.mkdir(mode=0o700, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as copy:
            async for chunk in context.open_file(file, 0, most):
                _write(copy, chunk)
        yield Path(name)
    finally:
        os.unlink(name)


def _write(copy: BinaryIO, chunk: bytes) -> None:
    try:
        copy.write(chunk)
    except OSError as error:
        raise Unavailable(f"a copy for reading cannot be made: {error.strerror or error}") from error
