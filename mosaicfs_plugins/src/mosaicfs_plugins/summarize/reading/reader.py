"""A document read, in a process that ends with the answer or at a limit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from mosaicfs_core.hooks import MosaicError, NotFound
from mosaicfs_plugins.summarize.reading.processes import answer_of
from mosaicfs_plugins.summarize.settings import Settings


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
    """Read a file. Raises ``NotFound`` when it is gone, ``MosaicError`` when it cannot be read within the limits."""
    wish = {
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
    try:
        answer: dict[str, Any] = json.loads(await answer_of(wish, settings.max_seconds))
    except TimeoutError:
        raise MosaicError(f"reading it took longer than {settings.max_seconds} s") from None
    except ValueError:
        raise MosaicError("the program that read it broke down, or ran out of memory") from None
    if "error" not in answer:
        return msgspec.convert(answer, Reading)
    if answer["gone"]:
        raise NotFound(f"{path} is gone")
    raise MosaicError(f"{path} cannot be read: {answer['error']}")
