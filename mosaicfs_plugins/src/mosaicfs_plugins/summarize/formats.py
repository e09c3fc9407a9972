"""The documents that are summarized, by MIME type. Pure."""

from __future__ import annotations

from typing import Final

_OFFICE: Final = "application/vnd.openxmlformats-officedocument."

MIME_GLOBS: Final = (
    "application/pdf",
    "application/msword",
    "application/vnd.ms-word*",
    "application/vnd.ms-excel*",
    "application/vnd.ms-powerpoint*",
    f"{_OFFICE}*",
    "application/vnd.oasis.opendocument.*",
    "application/rtf",
    "text/rtf",
    "application/epub+zip",
    "application/xhtml+xml",
    "text/html",
    "text/markdown",
    "text/plain",
)
"""What a new instance is told of."""

_PLAIN: Final = frozenset({"text/plain", "text/markdown"})
_MARKED_UP: Final = frozenset({"text/html", "application/xhtml+xml"})
_SAME: Final = {"text/rtf": "application/rtf"}
_OPEN_SLIDES: Final = ("application/vnd.oasis.opendocument.presentation", "application/vnd.oasis.opendocument.graphics")
_TEMPLATES: Final = {
    f"{_OFFICE}{kind}.template": f"{_OFFICE}{same}"
    for kind, same in (
        ("wordprocessingml", "wordprocessingml.document"),
        ("spreadsheetml", "spreadsheetml.sheet"),
        ("presentationml", "presentationml.presentation"),
    )
}


def is_plain(mime_type: str) -> bool:
    """Whether the bytes are the text, in some encoding."""
    return mime_type in _PLAIN


def is_marked_up(mime_type: str) -> bool:
    """Whether the bytes are a text, in some encoding, that a library has to read."""
    return mime_type in _MARKED_UP


def is_open_slides(mime_type: str) -> bool:
    """Whether it is an OpenDocument presentation or drawing, which the library does not read."""
    return mime_type.startswith(_OPEN_SLIDES)


def library_type(mime_type: str) -> str:
    """The type as the library that reads documents knows it."""
    return _SAME.get(mime_type) or _TEMPLATES.get(mime_type) or mime_type.removesuffix("-template")
