"""A CouchDB database, and beside it a small one for notes, as a hub.

Notes have a database of their own because they must be replaced by compare-and-swap and must not be replicated:
ordinary documents would be replicated, and ``_local`` ones, which are not, have been written without a look at their
revision ever since CouchDB became a cluster.
"""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp
from aiocouch import CouchDB, Document
from aiocouch.database import Database

from mosaicfs_core.hooks import HubAccess, HubAddress, HubNote, NotAllowed, NotFound, Unavailable
from mosaicfs_plugins.couchdb.errors import translated

REQUEST_S: Final = 20.0
NOTES_SUFFIX: Final = "-notes"
DESIGN: Final = "mosaicfs"
INDEXES: Final[Mapping[str, list[str]]] = {"by-type": ["type"], "by-node": ["node_id", "type"]}
"""Mango indexes for people and scripts that look into the database; MosaicFS itself asks its own replica."""
_STORED: Final = 201
"""The status of a write that a majority of the copies took; 202 says that fewer did, which another may overrule."""
ADMINS: Final = "_admin"
"""The role of CouchDB's server admins."""


class CouchHub:
    """A ``Hub`` over CouchDB 3: one node or a cluster, or what speaks as it does."""

    def __init__(self, address: HubAddress, logger: logging.Logger) -> None:
        self._address, self._logger = address, logger
        parts = urlsplit(address.url)
        prefix, _, name = parts.path.rpartition("/")
        self._base = f"{parts.scheme}://{parts.netloc}{prefix}"
        self._name = unquote(name)
        self._server: CouchDB | None = None
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            logger.warning("the hub %s is not encrypted: password and documents can be read on the way", address.url)

    def access(self) -> HubAccess:
        """Basic authentication, which CouchDB takes without a session that would end."""
        headers = {}
        if self._address.user:
            secret = b64encode(f"{self._address.user}:{self._address.password}".encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        return HubAccess(self._base, f"/{self._name}", headers, self._address.ca_pem)

    async def prepare(self) -> None:
        """Sign in; make both databases where they are missing; let nobody in but this user and the server's admins."""
        self._logger.debug("signing in to %s", self._base)
        server = self._opened()
        with translated(self._base, self._address.user):
            await server.check_credentials()
        for name in (self._name, self._name + NOTES_SUFFIX):
            with translated(f"{self._base}/{name}", self._address.user):
                await self._prepare(server, name)

    async def read(self, name: str) -> HubNote | None:
        """The note as the majority of the copies has it."""
        with translated(f"{self._base}/{self._name}{NOTES_SUFFIX}", self._address.user):
            try:
                found = await self._notes().get(name)
            except KeyError:
                # The note, or all of them: then the database must be made again.
                if not await self._exists(self._name + NOTES_SUFFIX):
                    raise NotFound(f"{self._base}/{self._name}{NOTES_SUFFIX} is gone") from None
                return None
            body = {key: value for key, value in found.items() if not key.startswith("_")}
            return HubNote(str(found["_rev"]), body)

    async def swap(self, name: str, body: Mapping[str, Any], rev: str | None) -> str:
        """Write over ``rev``. A write that a majority of the copies did not take is ``Unavailable``."""
        given = {**body} if rev is None else {**body, "_rev": rev}
        with translated(f"{self._base}/{self._name}{NOTES_SUFFIX}", self._address.user):
            document = Document(self._notes(), name, data=given)
            answer = await document.save()
        if answer is None or answer.status != _STORED:
            status = None if answer is None else answer.status
            raise Unavailable(f"{self._base} has too few nodes at hand to keep a note safely (it answered {status})")
        return str(document["_rev"])

    async def close(self) -> None:
        """Close the connections."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def _opened(self) -> CouchDB:
        if self._server is None:
            # A header of our own: aiocouch signs in by a class that aiohttp will drop.
            options: dict[str, Any] = {
                "timeout": aiohttp.ClientTimeout(total=REQUEST_S),
                "middlewares": (self._sign_in,),
            }
            if self._base.startswith("https:"):
                context = ssl.create_default_context(cadata=self._address.ca_pem)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                options["connector"] = aiohttp.TCPConnector(ssl=context)
            self._server = CouchDB(self._base, **options)
        return self._server

    async def _sign_in(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update(self.access().headers)
        return await handler(request)

    def _notes(self) -> Database:
        return Database(self._opened(), self._name + NOTES_SUFFIX)

    async def _exists(self, name: str) -> bool:
        try:
            await self._opened()[name]
        except KeyError:
            return False
        return True

    async def _prepare(self, server: CouchDB, name: str) -> None:
        if not await self._exists(name):
            await self._create(server, name)
        database = Database(server, name)
        await self._restrict(database)
        if name == self._name:
            for index, fields in INDEXES.items():
                await self._index(database, index, fields)

    async def _create(self, server: CouchDB, name: str) -> None:
        try:
            await server.create(name, exists_ok=True)
        except PermissionError as error:
            raise NotAllowed(
                f"{self._base} has no database {name}, and {self._address.user or 'nobody'} may not make one: make"
                f" {self._name} and {self._name}{NOTES_SUFFIX} there as an admin, or give an admin's name for the first"
                " start"
            ) from error
        self._logger.info("made the database %s", name)

    async def _restrict(self, database: Database) -> None:
        """Where CouchDB lets in admins alone (a new database) or anybody, let in this user and the admins. What
        somebody has set up otherwise stays."""
        if not self._address.user:
            return
        rules = await database.security()
        names, roles = rules.members or [], rules.member_roles or []
        if names or roles not in ([], [ADMINS]):
            return
        rules.add_admin_role(ADMINS)
        rules.add_member_role(ADMINS)
        rules.add_member(self._address.user)
        try:
            await rules.save()
        except PermissionError as error:
            if not roles:
                raise NotAllowed(
                    f"anybody may read {self._base}/{database.id}, and {self._address.user} may not restrict it: set"
                    " its members as an admin"
                ) from error

    async def _index(self, database: Database, name: str, fields: list[str]) -> None:
        try:
            await database.index({"fields": fields}, ddoc=DESIGN, name=name)
        except PermissionError:
            self._logger.debug("the index %s is an admin's to make; MosaicFS works without", name)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
