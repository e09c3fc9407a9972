"""Documents read by kreuzberg. Runs in a child process alone: what a library does with a hostile file stays there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mosaicfs_core.hooks import UserError
from mosaicfs_core.hooks.reading import SLIDES, decode_text, read_slides, without_surrogates
from mosaicfs_fulltext.extraction.archives import bomb_problem
from mosaicfs_fulltext.extraction.messages import Caps, Extracted, Wish

if TYPE_CHECKING:
    import kreuzberg

_PAGE: Final = "\f"
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_MOST_TITLE: Final = 300
_error_name: Final = re.compile(r"\w+Error").fullmatch
_blank_lines: Final = re.compile(r"[ \t]*(?:\r?\n[ \t]*){3,}")


def extract(wish: Wish) -> Extracted:
    """The text of a document. Never raises for the document's sake."""
    import kreuzberg

    path = Path(_text_path(wish.path))
    problem = bomb_problem(path, wish.caps.unpacked)
    if problem is not None:
        return Extracted(problem=problem)
    try:
        if wish.mime_type in SLIDES:
            lines = read_slides(path, wish.caps.unpacked).paragraphs
            return Extracted(text=_within(without_surrogates("\n".join(lines)), wish.caps))
        result = _read(path, wish)
    except UserError as error:
        return Extracted(problem=f"it {error.message}")
    except kreuzberg.KreuzbergError as error:
        return Extracted(problem=_reason(str(error)))
    text = without_surrogates(result.content)
    return Extracted(text=_within(text, wish.caps), title=_title(result.metadata))


def _read(path: Path, wish: Wish) -> kreuzberg.ExtractionResult:
    import kreuzberg

    pages = kreuzberg.PageConfig(insert_page_markers=True, marker_format=_PAGE)
    config = kreuzberg.ExtractionConfig(use_cache=False, enable_quality_processing=False, pages=pages)
    if wish.mime_type in _HTML:
        # The library takes everything for UTF-8.
        text = decode_text(path.read_bytes()) or ""
        return kreuzberg.extract_bytes_sync(text.encode("utf-8", "replace"), wish.mime_type, config)
    return kreuzberg.extract_bytes_sync(path.read_bytes(), wish.mime_type, config)


def _within(text: str, caps: Caps) -> str:
    """The text of the first pages, at most so many characters."""
    # There is a mark between two pages, and sometimes one before the first.
    pages = text.lstrip(_PAGE).split(_PAGE, caps.pages)[: caps.pages]
    text = "\n\n".join(page.strip() for page in pages)
    return _blank_lines.sub("\n\n", text[: caps.characters]).strip()


def _title(metadata: Any) -> str:
    found = metadata.get("title") or metadata.get("subject") if metadata else None
    return " ".join(without_surrogates(found).split())[:_MOST_TITLE] if isinstance(found, str) else ""


def _reason(message: str) -> str:
    """The first line of a library's message, without what it repeats of itself."""
    line = message.strip().splitlines()[0] if message.strip() else "it could not be read"
    parts = [part for part in dict.fromkeys(part.strip() for part in line.split(": ")) if not _error_name(part)]
    return ": ".join(parts)[:_MOST_TITLE]


def _text_path(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
