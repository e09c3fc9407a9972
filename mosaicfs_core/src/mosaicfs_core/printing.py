"""Names that cannot harm a terminal: whoever may put a file somewhere chooses what is printed of it. Pure."""

from __future__ import annotations

from typing import Final

_RAW_BYTES: Final = 0x10FF00
"""Written paths hold each byte that is not UTF-8 as one character from here on."""


def printable(text: str, *, keep_lines: bool = False) -> str:
    """The text with control characters and raw bytes as ``\\xNN``, so that a file's name cannot drive the terminal."""
    if text.isprintable():
        return text
    return "".join(_printable_character(character, keep_lines) for character in text)


def _printable_character(character: str, keep_lines: bool) -> str:
    code = ord(character)
    if code >= _RAW_BYTES and code <= _RAW_BYTES + 0xFF:
        return f"\\x{code - _RAW_BYTES:02x}"
    if character.isprintable() or (keep_lines and character in "\n\t"):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
