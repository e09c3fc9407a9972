"""What a crawl or a watch says about files: the operations that cross ``mosaicfs_crawl`` and ``mosaicfs_watch``.

Paths are *export paths* in their written form: absolute, ``/``-separated, UTF-8 text in which each byte of a name
that is not valid UTF-8 stands as one private-use character (``mosaicfs_core.documents.paths`` has the encoding;
``PluginContext.written`` and ``PluginContext.native`` convert). Times are integers, microseconds since the Unix
epoch, UTC; sizes are bytes.

The classes are frozen ``msgspec.Struct``s, which behave as frozen dataclasses and cost a tenth to make: a crawl makes
one per directory at least, and hundreds of thousands in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

Trigger: TypeAlias = Literal["startup", "scheduled", "manual", "poll", "reconnect", "watch"]


class CrawlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Why a crawl is asked for.

    ``full`` forbids a plugin to rely on its cursor; ``prefixes`` limits the crawl to these export paths (empty: all).
    ``report`` asks a plugin whose manifest has ``reports_exclusions`` only for what it passes over: nothing is indexed,
    and the plugin changes nothing that it remembers. Everything left out is a ``Problem`` of its own, with ``count`` 1
    and the reason as ``message``; a prefix that is itself left out, or lies beneath what is, is answered in the first
    chunk by one ``Problem`` for that. Chunks may be empty; yield one now and then. It may run beside another crawl.
    """

    trigger: Trigger
    full: bool = False
    prefixes: tuple[str, ...] = ()
    report: bool = False


class Entry(NamedTuple):
    """One regular file in a directory, as ``Directory`` lists it.

    ``identity`` is what recognizes the file after a move: device and inode number for a disk, or None. ``name`` is in
    written form.
    """

    name: str
    size: int
    mtime: int
    device: int = 0
    number: int = 0


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is new or has changed. What was known beneath its path, as of a directory, is gone.

    ``identity`` is opaque text that recognizes the file after a move (a message id, say), unique on the instance.
    ``fingerprint`` tells a change that size and mtime do not. ``mime_type`` is taken over when the file is new, has
    changed or has moved; without one it goes by the name, or stays what it was.
    """

    export_path: str
    size: int
    mtime: int
    mime_type: str | None = None
    device: int = 0
    number: int = 0
    identity: str | None = None
    fingerprint: str | None = None


class Rename(msgspec.Struct, frozen=True, kw_only=True):
    """A file or a directory with all beneath it is now called ``export_path``.

    ``directory`` says which of the two; None: whichever is known at ``previous_export_path``.
    """

    export_path: str
    previous_export_path: str
    directory: bool | None = None


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """A file, or a directory with all beneath it, is gone."""

    export_path: str


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """A directory and all its direct files: cheaper than a ``Create`` for each and a ``CompleteDirectory``.

    Files that the replica knows directly in ``export_path`` and ``files`` does not name are gone; sub-directories that
    it knows and ``directories`` (names) does not list are gone with all beneath them. So is a file that it knows at
    ``export_path`` itself.
    """

    export_path: str
    files: Sequence[Entry]
    directories: Sequence[str]


class CompleteDirectory(msgspec.Struct, frozen=True, kw_only=True):
    """Every direct file of the directory was named since the crawl began; what was not is gone."""

    export_path: str


class Complete(msgspec.Struct, frozen=True, kw_only=True):
    """Everything under ``prefix`` was named since the crawl began; what was not is gone."""

    prefix: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Settle what was said so far: a crawl goes on after this only when all of it is durable, deletions included.

    For what a plugin may remember (a cursor, say) only once the index has it. A file that vanished before it is deleted
    here, though it may turn up later.
    """


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something could not be read or was passed over. Never a deletion: what is known beneath it stays.

    ``kind`` is one of ``unreadable`` (a directory or file), ``inaccessible`` (a whole root is missing or unmounted),
    ``ignored`` (by a pattern), ``symlink``, ``special`` (a socket, device or pipe), ``watch`` (cannot be watched) and
    ``info``. ``count`` lets one report stand for many. A watcher sends ``resolved=True`` when the condition cleared.
    """

    kind: Literal["unreadable", "inaccessible", "ignored", "symlink", "special", "watch", "info"]
    export_path: str
    message: str = ""
    count: int = 1
    resolved: bool = False


FileOperation: TypeAlias = Create | Rename | Delete | Directory | CompleteDirectory | Complete | Checkpoint | Problem
