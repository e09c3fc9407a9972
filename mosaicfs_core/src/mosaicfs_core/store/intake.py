"""Documents on their way in: checked and taken apart without the database, so in any thread.

Most writes of a large replica are files that it does not know yet. Of those everything but the numbers is worked out
here; the writer has only to make sure that their ids are new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from ..errors import MosaicError, UserError
from .records import BulkResult
from .revisions import Edit, encode, path_of, take_apart
from .revtree import Rev, is_linear, pack_path
from .rows import FileParts, file_parts, hash_of, split_id
from .search_text import fold

Validate: TypeAlias = Callable[[Mapping[str, Any]], None]

_PLAIN = frozenset(
    {
        "_id",
        "type",
        "inode",
        "name",
        "source",
        "size",
        "mtime",
        "mime_type",
        "status",
        "provider",
        "deleted_at",
        "moved_from",
    }
)
"""Fields of a file that neither name a revision nor ask for anything special."""
_REPLICATED = _PLAIN | {"_rev", "_revisions"}
_md5 = hashlib.md5


SHORT_HISTORY = 100
"""Revisions of a replicated file that are taken over as they are; a longer history may be beyond the limit."""


class NewFile(NamedTuple):
    """A valid file that names no revision, or one made elsewhere with its history. It is inserted as it is when its id
    is new; else it is an ``edit``."""

    id: str
    id_hash: int
    node_id: str | None  # of the id, when ``key`` is a uuid
    key: bytes | str
    path: tuple[Rev, ...]  # newest first; empty when it names no revision
    gen: int
    digest: bytes  # of its revision
    tree: bytes | None
    body: dict[str, Any]
    parts: FileParts
    folded: str

    @property
    def edit(self) -> Edit:
        """The same as an edit of whatever is there."""
        return Edit(self.id, self.body, False, self.path)


class Prepared(NamedTuple):
    """A batch ready for ``WriteTransaction.write``: in order, what is to be written and what was refused."""

    items: list[NewFile | Edit | BulkResult]
    replicated: bool


def prepare(documents: Iterable[Mapping[str, Any]], validate: Validate, *, new_edits: bool = True) -> Prepared:
    """Validate documents and take them apart. With ``new_edits=False`` what fails is left to the writer, which puts it
    into quarantine."""
    items: list[NewFile | Edit | BulkResult] = []
    for document in documents:
        try:
            if new_edits and _is_plain_file(document, _PLAIN):
                validate(document)
                items.append(_new_file(document))
                continue
            if not new_edits and (file := _replicated_file(document, validate)) is not None:
                items.append(file)
                continue
            edit = take_apart(document, replicated=not new_edits)
            if new_edits:
                validate(document)
            items.append(edit)
        except MosaicError as error:
            items.append(BulkResult(str(document.get("_id", "")), None, error))
    return Prepared(items, not new_edits)


def _is_plain_file(document: Mapping[str, Any], fields: frozenset[str]) -> bool:
    identifier = document.get("_id")
    usual = isinstance(identifier, str) and identifier[:6] == "file::" and identifier.isascii()
    return usual and document.get("type") == "file" and document.keys() <= fields


def _new_file(document: Mapping[str, Any]) -> NewFile:
    body = dict(document)
    identifier = body.pop("_id")
    canonical = encode(body)
    # ``revisions.new_hash`` of a live first revision.
    digest = _md5(b" 0 " + canonical, usedforsecurity=False).digest()
    return _file(identifier, body, (), digest, None, lambda: canonical)


def _replicated_file(document: Mapping[str, Any], validate: Validate) -> NewFile | None:
    """A valid, live file with a history of usual hashes, which can be inserted as it is; None for anything else."""
    if not _is_plain_file(document, _REPLICATED):
        return None
    path = path_of(document)
    if len(path) > SHORT_HISTORY or not is_linear(path):
        return None
    try:
        validate(document)
    except UserError:
        return None
    tree = None if len(path) == 1 else pack_path(path[::-1], False)
    body = {key: value for key, value in document.items() if key[:1] != "_"}
    return _file(document["_id"], body, path, bytes.fromhex(path[0][1]), tree, lambda: encode(body))


def _file(
    identifier: str,
    body: dict[str, Any],
    path: tuple[Rev, ...],
    digest: bytes,
    tree: bytes | None,
    encoded: Callable[[], bytes],
) -> NewFile:
    id_hash = hash_of(identifier)
    node_id, key = split_id(identifier) or (None, identifier)
    parts = file_parts(body, id_hash, encoded)
    gen = path[0][0] if path else 1
    return NewFile(identifier, id_hash, node_id, key, path, gen, digest, tree, body, parts, fold(parts.name))
