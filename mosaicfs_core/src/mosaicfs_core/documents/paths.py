"""Paths: the written form of native paths, and the few operations on written and on virtual paths.

A written path is text, absolute and ``/``-separated. A byte NN that is not valid UTF-8 is written as the character
U+10FFNN; a real character of that range (U+10FF00 to U+10FFFF) has each of its UTF-8 bytes written in the same way. So
every sequence of bytes has one written form and every written form one sequence of bytes.
"""

from __future__ import annotations

import re
from typing import Final

from mosaicfs_core.errors import UserError

_ESCAPE_BASE: Final = 0x10FF00
_RESERVED: Final = "\U0010ff00-\U0010ffff"
_UNDECODED = "\udc80-\udcff"
_has_reserved = re.compile(f"[{_RESERVED}]").search
_to_escape = re.compile(f"[{_RESERVED}{_UNDECODED}]")
_runs = re.compile(f"[{_RESERVED}]+")


def _written_bytes(match: re.Match[str]) -> str:
    return "".join(chr(_ESCAPE_BASE + byte) for byte in match.group().encode("utf-8", "surrogateescape"))


def escape(native: bytes) -> str:
    """The written form of a native name or path."""
    try:
        text = native.decode("utf-8")
    except UnicodeDecodeError:
        return _to_escape.sub(_written_bytes, native.decode("utf-8", "surrogateescape"))
    if not text.isascii() and _has_reserved(text):
        return _to_escape.sub(_written_bytes, text)
    return text


def unescape(written: str) -> bytes:
    """The native bytes of a written name or path.

    Raises ``UserError`` for text that ``escape`` never makes: a lone surrogate, or escapes of bytes that need none (two
    texts would otherwise name one file).
    """
    if written.isascii():
        return written.encode("ascii")
    try:
        if not _has_reserved(written):
            return written.encode("utf-8")
        native = bytearray()
        end = 0
        for run in _runs.finditer(written):
            native += written[end : run.start()].encode("utf-8")
            native += bytes(ord(character) - _ESCAPE_BASE for character in run.group())
            end = run.end()
        native += written[end:].encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"the path {written!r} holds a lone surrogate, which no path in written form does") from None
    if escape(bytes(native)) != written:
        raise UserError(f"the path {written!r} escapes bytes that need no escape")
    return bytes(native)


def is_written(path: str) -> bool:
    """Whether ``path`` is a path or name in written form: what ``escape`` makes, and free of NUL."""
    if path.isascii():
        return "\0" not in path
    try:
        return b"\0" not in unescape(path)
    except UserError:
        return False


def why_not_written(path: str) -> str:
    """What a path that ``is_written`` refuses holds, to come after the path in a sentence."""
    if "\0" in path:
        return "holds a NUL (a zero byte), which no path may have"
    return "holds a character that no path may have"


def parent_of(path: str) -> str:
    """The path of the directory that holds ``path``; the parent of ``/`` and of ``/a`` is ``/``."""
    return path.rpartition("/")[0] or "/"


def name_of(path: str) -> str:
    """The last component; empty for ``/``."""
    return path.rpartition("/")[2]


def is_under(path: str, root: str) -> bool:
    """Whether ``path`` is ``root`` or lies anywhere beneath it. ``root`` may end with ``/``."""
    bare = root.rstrip("/")
    return path == bare or path.startswith(bare + "/")


def join(directory: str, name: str) -> str:
    """``directory`` and ``name`` as one path."""
    return f"{directory}{name}" if directory.endswith("/") else f"{directory}/{name}"


def normalize_virtual(path: str) -> str:
    """A virtual path without trailing or doubled slashes. ``/`` is the root.

    Raises ``UserError`` for a path that is empty or not absolute, has ``.`` or ``..`` as a component, holds NUL, or has
    a component of more than 255 bytes.
    """
    if not path.startswith("/"):
        raise UserError(f"the path {path!r} is not absolute: expected it to begin with /", field="path")
    if not is_written(path):
        raise UserError(f"the path {path!r} {why_not_written(path)}", field="path")
    parts = [part for part in path.split("/") if part]
    for part in parts:
        if part in (".", ".."):
            raise UserError(f"the path {path!r} has the component {part!r}: expected plain names", field="path")
        if len(part) > 63 and len(unescape(part)) > 255:
            raise UserError(f"the name {part[:40]!r}… is longer than 255 bytes", field="path")
    return "/" + "/".join(parts)
