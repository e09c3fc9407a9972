"""The text of OpenDocument presentations and drawings, which kreuzberg does not read."""

from __future__ import annotations

import html
import re
import zipfile
import zlib
from pathlib import Path
from typing import Final

from mosaicfs_fulltext.extraction.messages import Extracted

MIME_TYPES: Final = frozenset(
    f"application/vnd.oasis.opendocument.{kind}" for kind in ("presentation", "graphics", "presentation-template")
)
_line: Final = re.compile(r"</text:(?:p|h)>|<text:line-break\s*/>")
_blank: Final = re.compile(r"<text:(?:s|tab)\b[^>]*/>")
_tag: Final = re.compile(r"<[^>]*>")


def read(path: Path, most: int) -> Extracted:
    """The paragraphs of a document. Entities other than XML's own are left as they are: nothing is ever expanded."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("content.xml") as content:
            xml = content.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        return Extracted(problem=f"it is no OpenDocument file: {error}")
    if len(xml) > most:
        return Extracted(problem=f"it unpacks to more than {most:,} bytes")
    text = xml.decode("utf-8", "replace")
    body = text[max(0, text.find("<office:body")) :]
    plain = _tag.sub("", _blank.sub(" ", _line.sub("\n", body)))
    return Extracted(text=html.unescape(plain))
