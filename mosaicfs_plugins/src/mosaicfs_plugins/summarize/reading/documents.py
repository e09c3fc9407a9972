"""Documents read by kreuzberg. Runs in a child process alone: what a library does with a hostile file stays there."""

from __future__ import annotations

import os
import re
import stat
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import kreuzberg

from mosaicfs_core.hooks import UserError
from mosaicfs_core.hooks.reading import decode_text, read_slides
from mosaicfs_plugins.summarize import formats

_MOST_TEXT: Final = 2_000_000
_MOST_XML: Final = 100 << 20
_PAGE: Final = "\f"
_CONFIG: Final = kreuzberg.ExtractionConfig(
    use_cache=False,
    enable_quality_processing=False,
    pages=kreuzberg.PageConfig(insert_page_markers=True, marker_format=_PAGE),
)
_NO_TITLES: Final = re.compile(
    r"untitled|unknown|\(?anonymous\)?|(microsoft )?word - .*|.*\.(docx?|odt|indd|tex|dvi)", re.I
)
_error_name: Final = re.compile(r"\w*Error").fullmatch


class Document(NamedTuple):
    """What a file holds; ``problem`` says, completing "it …", why there is no text."""

    text: str = ""
    title: str = ""
    page_count: int | None = None
    problem: str | None = None


def read(path: Path, mime_type: str, most: int) -> Document:
    """The text of a file of at most ``most`` bytes. Raises ``OSError`` when the file cannot be read."""
    data = _bytes_of(path, most)
    if data is None:
        return Document(problem=f"is larger than {most >> 20:,} MB")
    if not data:
        return Document(problem="is empty")
    if formats.is_plain(mime_type):
        text = decode_text(data)
        return Document(problem="holds no text") if text is None else Document(text=text[:_MOST_TEXT])
    if formats.is_open_slides(mime_type):
        return _slides(data)
    if formats.is_marked_up(mime_type):
        # The library takes everything for UTF-8.
        data = (decode_text(data) or "").encode("utf-8", "replace")
    try:
        found = kreuzberg.extract_bytes_sync(data, formats.library_type(mime_type), _CONFIG)
    except kreuzberg.KreuzbergError as error:
        return Document(problem=f"cannot be read: {_reason(str(error))}")
    return _document(found)


def _document(found: kreuzberg.ExtractionResult) -> Document:
    facts: dict[str, Any] = dict(found.metadata or {})
    pages = facts.get("page_count") or facts.get("slide_count")
    count = pages if isinstance(pages, int) and pages > 0 else None
    title = " ".join(str(facts.get("title") or "").split())
    title = "" if _NO_TITLES.fullmatch(title) else title
    text = found.content[:_MOST_TEXT]
    if not text.strip():
        why = "its pages are pictures, or blank" if count else "it has only pictures, or nothing"
        return Document(title=title, page_count=count, problem=f"holds no text: {why}")
    return Document(text=text, title=title, page_count=count)


def _bytes_of(path: Path, most: int) -> bytes | None:
    """The bytes of a regular file, None when they are more than may be. Opening a pipe or a device must not hang."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(f"{path} is no file any more")
        data = file.read(most + 1)
    return data if len(data) <= most else None


def _slides(data: bytes) -> Document:
    """The paragraphs of an OpenDocument presentation or drawing."""
    try:
        found = read_slides(BytesIO(data), _MOST_XML)
    except UserError as error:
        return Document(problem=error.message)
    text = "\n\n".join(found.paragraphs)[:_MOST_TEXT]
    problem = None if text else "holds no text: it has only pictures, or nothing"
    return Document(text=text, page_count=found.pages or None, problem=problem)


def _reason(message: str) -> str:
    """The first line of a library's message, without what it repeats of itself."""
    line = message.strip().splitlines()[0] if message.strip() else "nobody knows why"
    parts = [part for part in dict.fromkeys(part.strip() for part in line.split(": ")) if not _error_name(part)]
    return ": ".join(parts)[:300]
