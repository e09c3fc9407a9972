"""Arguments of the command line as indexes write them."""

from __future__ import annotations

_SURROGATES = range(0xDC80, 0xDD00)
_WRITTEN = 0x10FF00 - 0xDC00


def written_argument(argument: str) -> str:
    """A name or path that the shell gave in written form: bytes that are not UTF-8 (Python holds them as surrogates)
    become ``U+10FFNN``."""
    return "".join(
        chr(ord(character) + _WRITTEN) if ord(character) in _SURROGATES else character for character in argument
    )
