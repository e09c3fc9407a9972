"""A server that answers as Apache CouchDB 3.4 does, and fails as it does, over replicas in this process.

Written after CouchDB's own source (``chttpd_db``, ``chttpd``, ``fabric_doc_update``, ``fabric_open_revs``), for what a
replicator and a hub meet there and no PouchDB does: sequences are opaque and another text each time, for the same
position too; ``_local`` documents are written without a look at their revision; a cluster that misses a shard
answers ``_bulk_docs`` with 500 and a list whose rows name no document, and ``_bulk_get`` with 200 and an error in every
row. ``faults`` come before the answers.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from mosaicfs_core.store import Reader, Store
from mosaicfs_core.store.selector import compile_selector

ADMIN = ("admin", "correct horse")
INTERNAL = {"error": "error", "reason": "internal_server_error"}
"""The row of a document that no copy of its shard answered for: without its id."""
Fault = Callable[["Asked"], "web.StreamResponse | Awaitable[web.StreamResponse | None] | None"]


def said(status: int, error: str, reason: str, **headers: str) -> web.Response:
    """An error in CouchDB's shape."""
    return web.json_response({"error": error, "reason": reason}, status=status, headers=headers)


class Asked:
    """A request: the database, what follows its name, and the decoded body."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.request, self.method, self.raw = request, request.method, body
        self.name, _, self.path = request.path.lstrip("/").partition("/")
        self.body: Any = json.loads(body) if body else None


class CouchDB:
    """Databases by name. ``asked`` names all requests, ``faults`` answer in the place of the database where they give
    an answer, ``lost`` are ids whose shard does not answer, ``behind`` those of which the copies that are asked have
    nothing yet, once."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.stores: dict[str, Store] = {}
        self.notes: dict[str, dict[str, dict[str, Any]]] = {}
        self.locals: dict[str, dict[str, dict[str, Any]]] = {}
        self.security: dict[str, Any] = {}
        self.revs_limit: dict[str, int] = {}
        self.asked: list[str] = []
        self.faults: list[Fault] = []
        self.lost: set[str] = set()
        self.behind: set[str] = set()
        self.max_document_size = 8_000_000
        self.max_request_size = 1 << 32
        self.base = ""
        self._texts = itertools.count(1)
        self._making = asyncio.Lock()  # of two who make a database at once one is told that it is there

    # Positions

    def seq(self, number: int) -> str:
        """A position, as another text each time."""
        packed = base64.urlsafe_b64encode(json.dumps([next(self._texts), number]).encode()).decode()
        return f"{number}-g1AAAA{packed}"

    def number(self, since: str) -> int | None:
        """The position that one of these texts stands for; None for what is none."""
        if since == "0":
            return 0
        _, _, packed = since.partition("-g1AAAA")
        try:
            return int(json.loads(base64.urlsafe_b64decode(packed))[1])
        except (ValueError, IndexError):
            return None

    # Requests

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Whatever is asked."""
        body = await request.read()
        asked = Asked(request, body)
        self.asked.append(f"{asked.method} {asked.path or '/'}")
        for fault in self.faults:
            found = fault(asked)
            found = await found if isinstance(found, Awaitable) else found
            if found is not None:
                return found
        expected = base64.b64encode(":".join(ADMIN).encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return said(401, "unauthorized", "Name or password is incorrect.")
        if len(body) > self.max_request_size:
            return said(413, "too_large", "the request entity is too large")
        if request.path == "/_session":
            context = {"name": ADMIN[0], "roles": ["_admin"]}
            return web.json_response({"ok": True, "userCtx": context, "info": {"authenticated": "default"}})
        if not asked.path:
            return await self._database(asked)
        if asked.name not in self.locals:
            return said(404, "not_found", "Database does not exist.")
        return await self._in_database(asked)

    async def _database(self, asked: Asked) -> web.StreamResponse:
        if asked.method == "PUT":
            async with self._making:
                if asked.name in self.locals:
                    return said(412, "file_exists", "The database could not be created, the file already exists.")
                await self.make(asked.name)
            return web.json_response({"ok": True}, status=201)
        if asked.name not in self.locals:
            return said(404, "not_found", "Database does not exist.")
        store = self.stores.get(asked.name)
        seq = 0 if store is None else await store.read(Reader.seq)
        facts = {"db_name": asked.name, "update_seq": self.seq(seq), "purge_seq": "0-g1AAAA", "doc_count": seq}
        cluster = {"q": 2, "n": 3, "w": 2, "r": 2}
        return web.json_response({**facts, "instance_start_time": "1732600000", "props": {}, "cluster": cluster})

    async def make(self, name: str) -> None:
        """A database; one for notes where its name says so. It is there for others once it is whole."""
        self.security[name] = {"admins": {"roles": ["_admin"]}, "members": {"roles": ["_admin"]}}
        if name.endswith("-notes"):
            self.notes[name] = {}
        else:
            self.stores[name] = await Store.open(self._home / f"{name}.db")
        self.locals[name] = {}

    async def _in_database(self, asked: Asked) -> web.StreamResponse:
        head, _, rest = asked.path.partition("/")
        handlers: Mapping[str, Callable[[Asked], Awaitable[web.StreamResponse]]] = {
            "_changes": self._changes,
            "_revs_diff": self._revs_diff,
            "_bulk_get": self._bulk_get,
            "_bulk_docs": self._bulk_docs,
        }
        if head in handlers:
            return await handlers[head](asked)
        if head == "_local":
            return self._local(asked, rest)
        if head == "_security":
            if asked.method == "PUT":
                self.security[asked.name] = asked.body
            return web.json_response(self.security[asked.name] if asked.method == "GET" else {"ok": True})
        if head == "_revs_limit":
            if asked.method == "PUT":
                self.revs_limit[asked.name] = asked.body
            return web.json_response({"ok": True} if asked.method == "PUT" else self._limit(asked.name))
        if head == "_index":
            return web.json_response({"result": "exists", "id": "_design/mosaicfs", "name": asked.body["name"]})
        return self._note(asked)

    def _limit(self, name: str) -> int:
        return self.revs_limit.get(name, 1_000)

    def _note(self, asked: Asked) -> web.Response:
        """An ordinary document of the notes, with compare-and-swap."""
        notes = self.notes[asked.name]
        found = notes.get(asked.path)
        if asked.method != "PUT":
            return said(404, "not_found", "missing") if found is None else web.json_response(found)
        if asked.body.get("_rev") != (found and found["_rev"]):
            return said(409, "conflict", "Document update conflict.")
        rev = f"{1 if found is None else int(found['_rev'].partition('-')[0]) + 1}-{next(self._texts):032x}"
        notes[asked.path] = {**asked.body, "_id": asked.path, "_rev": rev}
        return web.json_response({"ok": True, "id": asked.path, "rev": rev}, status=201)

    def _local(self, asked: Asked, name: str) -> web.Response:
        """Written over whatever is there: the revision given is counted on from, and not compared."""
        kept = self.locals[asked.name]
        if asked.method == "GET":
            return web.json_response(kept[name]) if name in kept else said(404, "not_found", "missing")
        generation, _, before = asked.body.get("_rev", "0-0").partition("-")
        if generation != "0" or not before.isdecimal():
            return said(400, "bad_request", "Invalid rev format")
        rev = f"0-{int(before) + 1}"
        kept[name] = {**asked.body, "_id": f"_local/{name}", "_rev": rev}
        return web.json_response({"ok": True, "id": f"_local/{name}", "rev": rev}, status=201)

    # Changes

    async def _changes(self, asked: Asked) -> web.StreamResponse:
        query = asked.request.query
        since = self.number(query.get("since", "0"))
        if since is None:
            return said(400, "bad_request", "Malformed sequence supplied in 'since' parameter.")
        selector = asked.body["selector"] if query.get("filter") == "_selector" else None
        feed = query.get("feed", "normal")
        if feed == "continuous":
            return await self._continuous(asked, since, selector)
        rows, last = await self._rows(asked.name, since, selector, int(query.get("limit", 1 << 30)))
        while feed == "longpoll" and not rows:
            await self.stores[asked.name].wait(last, float(query["heartbeat"]) / 1000)
            rows, last = await self._rows(asked.name, last, selector, int(query.get("limit", 1 << 30)))
        pending = await self.stores[asked.name].read(Reader.seq) - last
        return web.json_response({"results": rows, "last_seq": self.seq(last), "pending": pending})

    async def _rows(self, name: str, since: int, selector: Any, limit: int) -> tuple[list[dict[str, Any]], int]:
        matches = (lambda _: True) if selector is None else compile_selector(selector)
        changes = await self.stores[name].read(
            lambda reader: reader.changes(since, 1 << 30, include_docs=selector is not None)
        )
        chosen = [one for one in changes if selector is None or matches(one.doc or {})]
        last = chosen[limit - 1].seq if len(chosen) > limit else (changes[-1].seq if changes else since)
        rows = [
            {"seq": self.seq(one.seq), "id": one.id, "changes": [{"rev": rev} for rev in one.revs]}
            for one in chosen[:limit]
        ]
        return rows, last

    async def _continuous(self, asked: Asked, since: int, selector: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(asked.request)
        store, heartbeat = self.stores[asked.name], float(asked.request.query["heartbeat"]) / 1000
        with suppress(ConnectionResetError):  # the reader has left
            while True:
                rows, since = await self._rows(asked.name, since, selector, 1 << 30)
                for row in rows:
                    await response.write(json.dumps(row).encode() + b"\n")
                if not rows and not await store.wait(since, heartbeat):
                    await response.write(b"\n")
        return response

    # Documents

    async def _revs_diff(self, asked: Asked) -> web.Response:
        """A revision older than the limit is forgotten, and lacking again."""
        found = {}
        for identifier, revs in asked.body.items():
            known = await self._known(asked.name, identifier)
            if lacking := [rev for rev in revs if rev not in known]:
                found[identifier] = {"missing": lacking}
        return web.json_response(found)

    async def _known(self, name: str, identifier: str) -> set[str]:
        store = self.stores[name]
        if await store.read(lambda reader: reader.row(identifier)) is None:
            return set()
        known = set()
        for leaf in await store.open_revs(identifier):
            start, ids = leaf["_revisions"]["start"], leaf["_revisions"]["ids"][: self._limit(name)]
            known |= {f"{start - place}-{digest}" for place, digest in enumerate(ids)}
        return known

    async def _bulk_get(self, asked: Asked) -> web.Response:
        unfit = {"open_revs", "new_edits", "w", "rev", "atts_since"} & set(asked.request.query)
        if unfit:
            return said(400, "bad_request", f'"{unfit.pop()}" query parameter is not acceptable')
        wanted = asked.body["docs"]
        if self.lost & {one["id"] for one in wanted}:
            return web.json_response({"results": [_failed(one, "internal_fabric_error", "timeout") for one in wanted]})
        results = []
        latest = asked.request.query.get("latest") == "true"
        for one, found in zip(wanted, await self.stores[asked.name].bulk_get(wanted, latest=latest), strict=True):
            if one["id"] in self.behind:
                self.behind.discard(one["id"])
                found = _failed(one, "not_found", "missing")
            for part in found["docs"]:
                if "ok" in part:
                    del part["ok"]["_revisions"]["ids"][self._limit(asked.name) :]
            results.append(found)
        return web.json_response({"results": results})

    async def _bulk_docs(self, asked: Asked) -> web.Response:
        if asked.body.get("new_edits") is not False:
            return said(400, "bad_request", "`new_edits` parameter must be a boolean.")
        documents = asked.body["docs"]
        for one in documents:
            if len(json.dumps(one)) > self.max_document_size:
                return said(413, "document_too_large", one["_id"])
        taken = [one for one in documents if one["_id"] not in self.lost]
        results = await self.stores[asked.name].bulk(taken, new_edits=False)
        rows: list[dict[str, Any]] = [
            {"id": one["_id"], "rev": one["_rev"], "error": "forbidden", "reason": result.error.message}
            for one, result in zip(taken, results, strict=True)
            if result.error is not None
        ]
        lost = [INTERNAL] * (len(documents) - len(taken))
        return web.json_response(rows + lost, status=500 if lost else 201)

    async def leaves(self, name: str) -> dict[str, set[str]]:
        """All leaves of a database; none of one that is not made yet."""
        if name not in self.stores:
            return {}
        changes = await self.stores[name].read(lambda reader: reader.changes(0, 1 << 30))
        return {one.id: set(one.revs) for one in changes}

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """With these faults."""
        self.faults += faults
        try:
            yield
        finally:
            for fault in faults:
                self.faults.remove(fault)


def _failed(one: Mapping[str, Any], error: str, reason: str) -> dict[str, Any]:
    told = {"id": one["id"], "rev": one.get("rev", "undefined"), "error": error, "reason": reason}
    return {"id": one["id"], "docs": [{"error": told}]}


def at(*paths: str, answer: Callable[[], web.StreamResponse], times: int = 1 << 30) -> Fault:
    """This answer in the place of the database's at these paths (``_bulk_docs``, ``_local``), so many times."""
    left = [times]

    def fault(asked: Asked) -> web.StreamResponse | None:
        if asked.path.partition("/")[0] not in paths or not left[0]:
            return None
        left[0] -= 1
        return answer()

    return fault


@asynccontextmanager
async def running(home: Path, names: Collection[str] = ()) -> AsyncIterator[CouchDB]:
    """A server in this process, with databases of these names."""
    couch = CouchDB(home)
    for name in names:
        await couch.make(name)
    app = web.Application(client_max_size=1 << 32)
    app.router.add_route("*", "/{path:.*}", couch.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    couch.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield couch
    finally:
        await runner.cleanup()
        for store in couch.stores.values():
            await store.close()
