"""The index on disk: tantivy, written by one thread, read by any.

Blocking code. What tantivy does when it meets damage (panic) arrives as ``Damaged``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from tantivy import Index, IndexWriter, Query, Searcher

from mosaicfs_core.hooks import Unavailable
from mosaicfs_fulltext.entries import Change, Entry, Removal
from mosaicfs_fulltext.index import schema as fields
from mosaicfs_fulltext.index.texts import DICTIONARY, Texts, Unreadable

T = TypeVar("T")

_HEAP: Final = 50_000_000
_LEARN_FROM: Final = 20_000
"""Texts at most: of more there is a dictionary already, unless nothing is to be learnt of them."""
_PANIC: Final = "PanicException"
_OF_THE_DISK: Final = re.compile(r"\b(?:io|os) error\b|\bOs \{ code\b|index writer was killed", re.IGNORECASE)
"""Errors of the system in tantivy's words, and what follows one: its writer is dead then and has to be opened again,
and should the files be damaged, their checksums tell. An ``IoError`` may be damage as well, a footer that is wrong."""


class Damaged(Exception):
    """The index cannot be used as it is. The message is a sentence without a full stop."""


class Found(NamedTuple):
    """A file that a query found. ``packed`` is its text as the index keeps it: see ``Engine.text``."""

    entry: Entry
    score: float
    packed: bytes


class Engine:
    """An open index. Made by ``open_index``."""

    def __init__(self, directory: Path, index: Index, texts: Texts) -> None:
        self.directory = directory
        self._index, self._texts = index, texts
        self._searcher = index.searcher()
        # Last: it holds the lock from now on, and an engine that fails to be made is closed by nobody.
        self._writer: IndexWriter | None = _writer(index)

    # -- writing, from one thread ----------------------------------------------------------------------------------

    def apply(self, change: Change, text: str | None = None) -> None:
        """Put a file in, in place of what it was before, or take it out. ``text`` saves unpacking it."""
        with _no_panic():
            # The writer never has a name in a frame: an error keeps its frames, and with them would keep the lock.
            self._open_writer().delete_documents_by_term(fields.ID, change.file_id)
            if not isinstance(change, Removal):
                text = change.text() if text is None else text
                document = fields.document_of(change, text, self._texts.pack(text) if text else b"")
                self._open_writer().add_document(document)

    def learn_from(self, query: Query) -> None:
        """Go on learning for the dictionary where former runs stopped, from kept texts of files that a query finds;
        nothing once it is there."""
        with _no_panic():
            if self._texts.learnt:
                return
            searcher = self._searcher
            for _, address in searcher.search(query, _LEARN_FROM, count=False).hits:
                self._texts.learn_from(fields.packed_text(searcher.doc(address)))
                if self._texts.learnt:
                    return

    def commit(self) -> None:
        """Make all that was applied durable and visible."""
        with _no_panic():
            self._open_writer().commit()
            self._index.reload()
            self._searcher = self._index.searcher()

    def close(self) -> None:
        """Let go of the files and of the lock; what was not committed is lost. Merges under way are given up."""
        self._writer = None

    # -- reading, from any thread ----------------------------------------------------------------------------------

    def search(self, query: Query, limit: int) -> list[Found]:
        """The best files for a query, best first; ``limit`` is 1 at least."""
        with _no_panic():
            searcher = self._searcher
            hits = searcher.search(query, limit, count=False).hits
            return [_found(searcher, score, address) for score, address in hits]

    def text(self, found: Found) -> str:
        """The text of a file that was found."""
        with _no_panic():
            return self._texts.unpack(found.packed) if found.packed else ""

    def entries(self, query: Query, limit: int) -> list[Entry]:
        """Some files that a query finds, without their texts; ``limit`` is 1 at least."""
        with _no_panic():
            searcher = self._searcher
            hits = searcher.search(query, limit, count=False).hits
            return [fields.entry_in(searcher.doc(address)) for _, address in hits]

    def count(self, query: Query | None = None) -> int:
        """How many files there are, or a query finds."""
        with _no_panic():
            searcher = self._searcher
            if query is None:
                return searcher.num_docs
            return int(getattr(searcher.search(query, 1, count=True), "count", 0) or 0)

    def languages(self) -> list[str]:
        """The languages that files are in, that of most files first."""
        with _no_panic():
            searcher = self._searcher
            files = {name: searcher.doc_freq(fields.LANGUAGE, name) for name in fields.languages()}
            return sorted((name for name in files if files[name]), key=lambda name: -files[name])

    def beginning(self, field: str, letters: str, limit: int) -> list[str]:
        """Terms of a field that begin so, at most ``limit``."""
        with _no_panic():
            return [term for term, _ in self._searcher.terms_with_prefix(field, letters, limit=limit)]

    def size(self) -> int:
        """Bytes on disk."""
        total = 0
        for entry in os.scandir(self.directory):
            try:
                total += entry.stat().st_size
            except FileNotFoundError:  # merged away meanwhile
                continue
        return total

    def _open_writer(self) -> IndexWriter:
        if self._writer is None:
            raise Unavailable("the index is closed")
        return self._writer


def open_index(directory: Path) -> Engine:
    """Open the index in a directory, an empty one when there is none.

    Whether its files are whole is asked of ``verify.damage``, before anything is written. Raises ``Damaged``, or
    ``Unavailable`` while another process writes to it.
    """
    fresh = not (directory / "meta.json").exists()
    if fresh and directory.exists() and any(map(_is_kept, directory.iterdir())):
        raise Damaged("meta.json is gone")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _no_panic():
        if fresh:
            Texts.prepare(directory)
        texts = Texts(directory)
        index = Index(fields.schema(), str(directory), reuse=True)
        fields.register(index)
        # By itself it would look for commits in a thread of its own, and could show an older one after a newer.
        index.config_reader("manual")
        return Engine(directory, index, texts)


def _is_kept(path: Path) -> bool:
    """Whether a file has something of an index in it. tantivy's lists and locks are left by one whose making failed."""
    return path.stem != DICTIONARY and not path.name.startswith(".")


def remove_index(directory: Path) -> None:
    """Remove an index with all that is in its directory."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        # Never mix the files of two indexes.
        raise Unavailable(f"the damaged index in {directory} cannot be removed")


def _writer(index: Index) -> IndexWriter:
    try:
        return index.writer(_HEAP, 1)
    except ValueError as error:
        if "lock" in str(error).lower():
            raise Unavailable("another process writes to the index") from error
        raise


def _found(searcher: Searcher, score: Any, address: Any) -> Found:
    document = searcher.doc(address)
    return Found(fields.entry_in(document), float(score), fields.packed_text(document))


@contextmanager
def _no_panic() -> Iterator[None]:
    """Turn what tantivy raises, panics included, and texts that cannot be read into ``Damaged``, and what the disk does
    into ``Unavailable``."""
    try:
        yield
    except Unreadable as error:
        raise Damaged(str(error)) from error
    except (ValueError, OSError) as error:
        # tantivy says in words that the disk is full, which is no damage.
        if isinstance(error, OSError) or _OF_THE_DISK.search(str(error)):
            raise Unavailable(f"the index cannot be used at present: {_first_line(error)}") from error
        raise Damaged(_first_line(error)) from error
    except BaseException as error:
        if type(error).__name__ == _PANIC:
            raise Damaged(f"tantivy gave up: {_first_line(error)}") from error
        raise


def guarded(function: Callable[[], T]) -> T:
    """The answer of a function that calls tantivy; ``Damaged`` for what that raises."""
    with _no_panic():
        return function()


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__
