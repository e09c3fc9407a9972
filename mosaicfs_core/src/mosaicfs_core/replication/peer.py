"""What replication needs of either side: the ``Peer`` protocol, and the values that cross it.

A peer is a database with CouchDB's data model, here or elsewhere. Its sequences are numbers or opaque texts; nobody but
the peer orders them. Every method raises ``Unavailable`` for what may work later (a cut connection, a restart), its
kind ``Choked`` where part of it may work at once, ``NotAllowed`` or ``NotSignedIn`` for refused credentials, and
another ``UserError`` for a request that can never work as it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..errors import Unavailable

Seq: TypeAlias = int | str
"""A position in a changes feed; 0 is its beginning in every database."""
Document: TypeAlias = Mapping[str, Any]


class Row(NamedTuple):
    """A changed document: all its leaf revisions, deleted ones too. ``document`` is its only leaf, with ``_revisions``,
    where the source has it at hand anyway."""

    id: str
    revs: tuple[str, ...]
    document: dict[str, Any] | None = None


class Page(NamedTuple):
    """Changes in order. ``last_seq`` is how far they reach (further than the last row where a filter left some out).

    ``pending`` is how many changes come after them, an upper bound; None when the source does not say. ``ended`` is
    whether these were the last for now.
    """

    rows: Sequence[Row]
    last_seq: Seq
    pending: int | None = None
    ended: bool = False


class Wanted(NamedTuple):
    """A revision that one side lacks."""

    id: str
    rev: str


class Refused(NamedTuple):
    """A document that a target did not take. Unless it is ``temporary``, offering it again will not help."""

    id: str
    rev: str
    reason: str
    temporary: bool = False


class Fetched(NamedTuple):
    """What a request for documents brought.

    ``failed`` are those that the peer could not give for the moment, ``absent`` those that it says it has not, which a
    copy that lags behind says too. ``rest`` is how many at the end were left out, because those before them are heavy.
    """

    documents: list[dict[str, Any]]
    failed: list[Refused]
    absent: list[Refused]
    rest: int = 0


class Choked(Unavailable):
    """The database itself failed at this request: it may take part of it, or all of it later."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """``instance_id`` changes when a database is made anew or restored from a backup; empty when it is not told."""

    instance_id: str
    update_seq: Seq


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents to replicate. ``name`` enters the replication id, so it must change when the rule does.

    ``selector`` is evaluated by the source (by CouchDB's too). ``accepts`` is a function over whole documents that is
    evaluated here: in the changes feed of a store, and for documents fetched from elsewhere.
    """

    name: str = ""
    selector: Mapping[str, Any] | None = None
    accepts: Callable[[Document], bool] | None = None


EVERYTHING = Filter()


class Peer(Protocol):
    """One side of a replication."""

    @property
    def near(self) -> bool:
        """Whether the database is in this process. It decides the order in which checkpoints are written."""

    async def identity(self) -> str:
        """What names this database in replication ids: the same from start to start, another one for another."""

    async def info(self) -> PeerInfo:
        """Facts about the database as they are now."""

    async def checkpoint(self, name: str) -> dict[str, Any] | None:
        """The ``_local`` document of this name."""

    async def save_checkpoint(self, name: str, document: Document) -> str:
        """Write a ``_local`` document (its ``_rev`` names the one it replaces); returns its new revision.

        Raises ``Stale`` when somebody else has written it.
        """

    async def changes(self, since: Seq, limit: int, chosen: Filter) -> Page:
        """The next changes, at most ``limit`` rows."""

    def live(self, since: Seq, limit: int, chosen: Filter, heartbeat: float) -> AsyncGenerator[Page | None, None]:
        """Changes as they happen, those that are there already first; None about every ``heartbeat`` seconds without
        one. It ends, or raises ``Unavailable``, when the source goes away or falls silent."""

    async def revs_diff(self, rows: Sequence[Row]) -> list[Wanted]:
        """Those of the revisions that this database does not know."""

    async def bulk_get(self, wanted: Sequence[Wanted]) -> Fetched:
        """The revisions with ``_revisions``, or what superseded them. One that is gone for certain is left out:
        whatever replaced it is a later change. Never nothing of a request but ``rest``."""

    async def leaves(self, identifiers: Sequence[str]) -> Fetched:
        """All leaves of these documents with ``_revisions``, tombstones too; nothing for those it does not have."""

    async def bulk_docs(self, documents: Sequence[Document]) -> list[Refused]:
        """Write revisions made elsewhere as they are; durable when this returns. What is not answered was taken."""

    def backlog(self, since: Seq) -> int | None:
        """How many changes come after a position, as far as that is known without asking; None when it is not."""

    async def close(self) -> None:
        """Let go of connections."""
