"""Entity tags of documents: how a route says which version it shows, and refuses a change to another one (RFC 9110)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from mosaicfs_core.errors import Stale


def etag_of(document: Mapping[str, Any]) -> str:
    """The entity tag of a document's present version; opaque, and no revision can be read from it."""
    return f'"{hashlib.blake2b(str(document["_rev"]).encode(), digest_size=9).hexdigest()}"'


def etag_matches(header: str | None, etag: str, *, weak: bool) -> bool:
    """Whether an ``If-Match`` or ``If-None-Match`` list names the entity tag; ``weak`` ignores ``W/`` on both sides."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    mine = etag.removeprefix("W/") if weak else etag
    for candidate in re.findall(r'(?:W/)?"[^"]*"', header):
        if (candidate.removeprefix("W/") if weak else candidate) == mine:
            return not (not weak and candidate.startswith("W/"))
    return False


def require_fresh(header: str | None, document: Mapping[str, Any] | None) -> None:
    """Raise ``Stale`` (412) when an ``If-Match`` header names another version of the document, or there is none."""
    if header is not None and (document is None or not etag_matches(header, etag_of(document), weak=False)):
        raise Stale("it was changed since you read it; read it again and repeat the change")
