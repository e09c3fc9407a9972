"""A document read in a process of its own, which ends with the answer, at the time limit, or with whoever waits."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from mosaicfs_core.hooks import NotFound, Unavailable
from mosaicfs_plugins.summarize.settings import Settings

_CHILD: Final = Path(__file__).with_name("child.py")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a document. ``text`` is its beginning, as much as was asked for; ``problem`` says, completing
    "it …", why there is no text. ``page_count`` is None where a format has no pages."""

    title: str = ""
    summary: str = ""
    language: str | None = None
    keywords: tuple[str, ...] = ()
    page_count: int | None = None
    problem: str | None = None
    text: str = ""


async def read_document(path: Path, mime_type: str, settings: Settings, text_characters: int) -> Reading:
    """Read a file. Raises ``NotFound`` when it is gone, ``Unavailable`` when it cannot be read within the limits."""
    wish = {
        "path": sys.path,
        "file": os.fspath(path),
        "mime_type": mime_type,
        "text_characters": text_characters,
        "max_file_bytes": settings.max_file_bytes,
        "max_sentences": settings.max_sentences,
        "max_keywords": settings.max_keywords,
        "languages": settings.languages,
        "max_seconds": settings.max_seconds,
        "memory_mb": settings.memory_mb,
    }
    output = await _run(json.dumps(wish).encode(), settings.max_seconds)
    answer: dict[str, Any] = json.loads(output)
    if "error" not in answer:
        return msgspec.convert(answer, Reading)
    if answer["gone"]:
        raise NotFound(f"{path} is gone")
    raise Unavailable(f"{path} cannot be read: {answer['error']}")


async def _run(given: bytes, seconds: int) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", os.fspath(_CHILD)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(given)
    except TimeoutError:
        raise Unavailable(f"reading it took longer than {seconds} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Unavailable("the program that read it broke down, or ran out of memory")
    return output
