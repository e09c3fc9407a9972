"""A hub: a database elsewhere that several control planes share. What a plugin gets to know, and what it offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where the hub is, as the configuration says. ``url`` is that of the database (``https://host:6984/mosaicfs``),
    and holds no password. ``user`` and ``password`` are empty when none is given. ``ca_pem`` is the certificate
    authority to trust, None: those of the system."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_pem: str | None = None


@dataclass(frozen=True, slots=True)
class HubAccess:
    """How the core's replicator reaches the database: CouchDB's replication protocol at ``base_url`` + ``path``
    (``/mosaicfs``), with ``headers`` in every request."""

    base_url: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_pem: str | None = None


class HubNote(NamedTuple):
    """A note as it stands on the hub: ``rev`` names this version of it."""

    rev: str
    body: dict[str, Any]


@runtime_checkable
class Hub(Protocol):
    """A hub. Every method but ``access`` is a coroutine that raises ``Unavailable`` for what may work later,
    ``NotSignedIn`` or ``NotAllowed`` for credentials that do not suffice, and ``NotFound`` when the database is gone.

    Notes are small documents beside the database, outside replication.
    """

    def access(self) -> HubAccess:
        """How to replicate with it. Plain function, no I/O."""

    async def prepare(self) -> None:
        """Make of the database what it must be: create it, restrict it, index it, as far as that is not so yet.

        Called before anything else, and again whenever something has failed.
        """

    async def read(self, name: str) -> HubNote | None:
        """The note of this name, or None when there is none."""

    async def swap(self, name: str, body: Mapping[str, Any], rev: str | None) -> str:
        """Write a note in the place of its version ``rev`` (None: where there is none); returns the new version.

        Only what the hub will not lose or take back counts as written. Raises ``Stale`` when it is another version
        that stands there.
        """

    async def close(self) -> None:
        """Give connections back. It may be used again afterwards."""
