"""The only writer of virtual directory documents: made, edited, renamed and removed through the control plane's store.

Every change is checked before it is written, and written in one transaction. A lock keeps changes apart that read the
tree first (a rename must know all descendants).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from mosaicfs_core.documents.ids import directory_document_id
from mosaicfs_core.documents.paths import is_under, name_of, parent_of
from mosaicfs_core.documents.times import now_micros
from mosaicfs_core.errors import Conflict, NotAllowed, NotFound, UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.rules.tree import ancestry
from mosaicfs_core.store import Reader, Store, WriteTransaction
from mosaicfs_vfs.namespace.edits import check_directory, check_target, moved, new_directory, with_fields

Check = Callable[[Mapping[str, Any]], None]
"""Raises ``Stale`` when the document is not the version that the caller read."""

_NAMED: Final = 3
"""Directories that an error names; of more it tells how many."""


class Directories:
    """Edits over one store, with the plugins' step ops to check chains by. Where another process writes directories,
    ``elsewhere`` makes the error that every edit raises."""

    def __init__(
        self, store: Store, ops: Mapping[str, StepOp], elsewhere: Callable[[], Exception] | None = None
    ) -> None:
        self.store = store
        self.ops = ops
        self._elsewhere = elsewhere
        self.lock = asyncio.Lock()

    async def get(self, path: str) -> dict[str, Any]:
        """The document of a directory. Raises ``NotFound``."""
        document = await self.store.get(directory_document_id(path))
        if document is None and path == "/":
            return new_directory("/", 0)
        if document is None:
            raise NotFound(f"there is no virtual directory {path}", path=path)
        return document

    async def create(
        self, path: str, fields: Mapping[str, Any], *, parents: bool, parent_shown: bool
    ) -> dict[str, Any]:
        """Make a directory. ``parents`` makes what is missing above it, too.

        ``parent_shown`` tells that its parent is there although it may have no document (a derived directory). Raises
        ``Conflict``, ``NotFound``, ``UserError``.
        """
        self._refuse_elsewhere()
        path = check_target(path)
        document = new_directory(path, now_micros(), fields)
        check_directory(document, self.ops)
        missing = [new_directory(above, now_micros()) for above in ancestry(path)[:-1]] if parents else []
        async with self.lock:
            if not parents and not parent_shown:
                raise NotFound(
                    f"there is no directory {parent_of(path)} to make {name_of(path)} in:"
                    " make it first, or ask for its parents as well (`--parents`)",
                    path=path,
                )
            wanted = [*missing, document]
            placed = await self.store.read(lambda reader: [_with_free_inode(reader, one) for one in wanted])

            def write(tx: WriteTransaction) -> dict[str, Any]:
                if tx.get(document["_id"]) is not None:
                    raise Conflict(f"{path} exists already", path=path)
                for above in placed[:-1]:
                    if tx.get(above["_id"]) is None:
                        tx.overwrite(above)
                return tx.overwrite(placed[-1])

            return await self.store.transaction(write)

    async def change(self, path: str, fields: Mapping[str, Any], check: Check) -> dict[str, Any]:
        """Set some of the editable fields. Raises ``NotFound``, ``Stale``, ``UserError``."""
        self._refuse_elsewhere()
        current = await self.get(path)
        check_directory(with_fields(current, fields), self.ops)

        def write(tx: WriteTransaction) -> dict[str, Any]:
            present = tx.get(current["_id"])
            if present is None and path != "/":  # removed or renamed meanwhile; the root alone needs no document
                raise NotFound(f"there is no virtual directory {path}", path=path)
            present = present or current
            check(present)
            return tx.overwrite(with_fields(present, fields))

        async with self.lock:
            return await self.store.transaction(write)

    async def rename(
        self, path: str, target: str, fields: Mapping[str, Any], check: Check, *, parent_shown: bool
    ) -> dict[str, Any]:
        """Call a directory, with all beneath it, by another path; every inode stays. ``fields`` are set as well.

        Raises ``Conflict`` when the target exists, ``NotAllowed`` for a system directory, ``UserError`` for a target
        inside of it.
        """
        self._refuse_elsewhere()
        target = check_target(target)
        current = await self.get(path)
        _refuse_system(current, "renamed")
        if is_under(target, path):
            raise UserError(f"{target} lies inside of {path}: a directory cannot be moved into itself", field="path")
        if not parent_shown:
            raise NotFound(f"there is no directory {parent_of(target)} to move it to", path=target)
        changed = with_fields(current, fields)
        check_directory(moved(changed, path, target), self.ops)
        async with self.lock:
            below = await self.store.read(lambda reader: _beneath(reader, path))

            def write(tx: WriteTransaction) -> dict[str, Any]:
                present = tx.get(current["_id"])
                if present is None:
                    raise NotFound(f"there is no virtual directory {path}", path=path)
                check(present)
                old = [with_fields(present, fields), *below]
                new = [moved(document, path, target) for document in old]
                leaving = {document["_id"] for document in old}
                for document in new:
                    if document["_id"] not in leaving and tx.get(document["_id"]) is not None:
                        raise Conflict(f"{document['virtual_path']} exists already", path=document["virtual_path"])
                for document in old:
                    _bury(tx, document)
                written = [tx.overwrite(document) for document in new]
                return written[0]

            return await self.store.transaction(write)

    async def remove(self, path: str, check: Check, *, force: bool) -> list[str]:
        """Remove a directory, with ``force`` all virtual directories in it as well; the paths that are gone.

        Raises ``Conflict`` when it is not empty, ``NotAllowed`` for a system directory (at any depth).
        """
        self._refuse_elsewhere()
        current = await self.get(path)
        _refuse_system(current, "removed")
        async with self.lock:
            below = await self.store.read(lambda reader: _beneath(reader, path))
            if below and not force:
                raise Conflict(
                    f"{path} is not empty (it holds {_some(document['virtual_path'] for document in below)}):"
                    " remove those first, or give --force (force=true in the API)",
                    path=path,
                )
            for document in below:
                _refuse_system(document, "removed")

            def write(tx: WriteTransaction) -> list[str]:
                present = tx.get(current["_id"])
                if present is None:
                    raise NotFound(f"there is no virtual directory {path}", path=path)
                check(present)
                for document in (present, *below):
                    _bury(tx, document)
                return sorted(document["virtual_path"] for document in (present, *below))

            return await self.store.transaction(write)

    def _refuse_elsewhere(self) -> None:
        if self._elsewhere is not None:
            raise self._elsewhere()


def _refuse_system(document: Mapping[str, Any], what: str) -> None:
    if document.get("system"):
        path = document["virtual_path"]
        raise NotAllowed(f"{path} is a system directory: it cannot be {what}", path=path)


def _some(paths: Iterable[str]) -> str:
    """The first of some paths by name, and how many there are beside."""
    names = sorted(paths)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _beneath(reader: Reader, path: str) -> list[dict[str, Any]]:
    documents = reader.documents_of("virtual_directory")
    return [one for one in documents if one["virtual_path"] != path and is_under(one["virtual_path"], path)]


def _with_free_inode(reader: Reader, document: dict[str, Any]) -> dict[str, Any]:
    """The document with the derived inode, or the next one that no other document has."""
    inode = document["inode"]
    while (holder := reader.get_by_inode(inode)) is not None and holder["_id"] != document["_id"]:
        inode += 1
    return {**document, "inode": inode}


def _bury(tx: WriteTransaction, document: Mapping[str, Any]) -> None:
    tombstone = {key: document[key] for key in ("_id", "type", "virtual_path")}
    tx.overwrite({**tombstone, "_deleted": True})
