"""The text of OpenDocument presentations and drawings, which libraries for documents pass over."""

from __future__ import annotations

import html
import re
import zipfile
import zlib
from os import PathLike
from typing import IO, Final, NamedTuple

from mosaicfs_core.errors import UserError

SLIDES: Final = frozenset(
    f"application/vnd.oasis.opendocument.{kind}"
    for kind in ("presentation", "presentation-template", "graphics", "graphics-template")
)
"""The MIME types."""
_line: Final = re.compile(r"</text:(?:p|h)>|<text:line-break\s*/>")
_blank: Final = re.compile(r"<text:(?:s|tab)\b[^>]*/>")
_tag: Final = re.compile(r"<[^>]*>")
_page: Final = re.compile(r"<draw:page[\s>/]")


class Slides(NamedTuple):
    """What a presentation or drawing says: its paragraphs, and on how many pages."""

    paragraphs: tuple[str, ...]
    pages: int


def read_slides(file: str | PathLike[str] | IO[bytes], most: int) -> Slides:
    """Read a presentation or drawing whose text unpacks to ``most`` bytes at most. Entities other than XML's own are
    left as they are: nothing is ever expanded. Raises ``OSError``, and ``UserError`` that says, completing "it …", why
    it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open("content.xml") as content:
            xml = content.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"is no OpenDocument file: {error}") from None
    if len(xml) > most:
        raise UserError(f"unpacks to more than {most:,} bytes")
    text = xml.decode("utf-8", "replace")
    body = text[max(0, text.find("<office:body")) :]
    plain = html.unescape(_tag.sub("", _blank.sub(" ", _line.sub("\n", body))))
    return Slides(tuple(line for line in plain.split("\n") if line.strip()), len(_page.findall(body)))
