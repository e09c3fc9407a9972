"""A replica in this process as a side of a replication: no HTTP, no copies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import Unavailable, UserError
from ..store import Reader, Store
from ..store.entries import Entry
from ..store.exchange import bulk_get_one
from ..store.selector import compile_selector
from .batching import HEAVY, weight_of
from .peer import Document, Fetched, Filter, Page, PeerInfo, Refused, Row, Seq, Wanted

SCAN = 2_000
"""Changes that a filter is applied to in one go of a reading thread."""
FEW = 16
"""Documents that are read at once, which is before it is known how heavy they are."""


class StorePeer:
    """A ``Peer`` over a ``Store``, which it does not close."""

    near = True

    def __init__(self, store: Store) -> None:
        self.store = store

    async def identity(self) -> str:
        return self.store.instance_id

    @property
    def _open(self) -> Store:
        if self.store.closed:
            raise Unavailable("The replica is closed.")
        return self.store

    async def info(self) -> PeerInfo:
        return PeerInfo(self.store.instance_id, await self._open.read(Reader.seq))

    async def checkpoint(self, name: str) -> dict[str, Any] | None:
        return await self._open.local_get(name)

    async def save_checkpoint(self, name: str, document: Document) -> str:
        return await self.store.local_put(name, document)

    async def changes(self, since: Seq, limit: int, chosen: Filter) -> Page:
        return await self._open.read(_Scan(_number(since), limit, predicate(chosen)))

    async def live(self, since: Seq, limit: int, chosen: Filter, heartbeat: float) -> AsyncGenerator[Page | None, None]:
        while True:
            page = await self.changes(since, limit, chosen)
            if page.last_seq != since:
                since = page.last_seq
                yield page
            elif not await self.store.wait(_number(since), heartbeat):
                yield None

    async def revs_diff(self, rows: Sequence[Row]) -> list[Wanted]:
        found = await self.store.revs_diff({row.id: row.revs for row in rows})
        return [Wanted(identifier, rev) for identifier, absent in found.items() for rev in absent["missing"]]

    async def bulk_get(self, wanted: Sequence[Wanted]) -> Fetched:
        return await self._open.read(partial(_fetched, wanted=[one._asdict() for one in wanted]))

    async def leaves(self, identifiers: Sequence[str]) -> Fetched:
        return await self._open.read(partial(_fetched, wanted=[{"id": identifier} for identifier in identifiers]))

    async def bulk_docs(self, documents: Sequence[Document]) -> list[Refused]:
        refused = []
        results = await self.store.bulk(documents, new_edits=False)
        for document, result in zip(documents, results, strict=True):
            if isinstance(result.error, UserError):
                refused.append(Refused(result.id, str(document.get("_rev", "")), result.error.message))
            elif result.error is not None:
                raise result.error
        return refused

    def backlog(self, since: Seq) -> int | None:
        return max(0, self.store.seq - _number(since))

    async def close(self) -> None:
        """Nothing to let go of: the store belongs to whoever opened it."""


def _fetched(reader: Reader, wanted: Sequence[Mapping[str, str]]) -> Fetched:
    """As many of them as are not too heavy together. What is not here is gone for certain: there is one copy."""
    documents: list[dict[str, Any]] = []
    weight, looked_at, step = 0, 0, FEW
    with reader.snapshot():
        while looked_at < len(wanted) and weight < HEAVY:
            part = wanted[looked_at : looked_at + step]
            present = _present(reader, part)
            documents += present
            weight += weight_of(present)
            looked_at += len(part)
            # A row is read with its body, and light ones may have heavy ones behind them.
            step = max(1, min(FEW, (HEAVY - weight) * looked_at // max(1, weight)))
    return Fetched(documents, [], [], len(wanted) - looked_at)


def _present(reader: Reader, wanted: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    entries = reader.entries({one["id"] for one in wanted})
    found = [bulk_get_one(entries.get(one["id"]), one, revs=True, latest=True) for one in wanted]
    return [answer["ok"] for one in found for answer in one["docs"] if "ok" in answer]


def _number(since: Seq) -> int:
    try:
        return int(since)
    except ValueError:
        raise UserError(f"{since!r} is no sequence of a MosaicFS replica", field="since") from None


def predicate(chosen: Filter) -> Callable[[Document], bool] | None:
    """A filter as a function over whole documents; None when it lets all pass."""
    matches = None if chosen.selector is None else compile_selector(chosen.selector)
    accepts = chosen.accepts
    if matches is None or accepts is None:
        return matches or accepts
    return lambda document: matches(document) and accepts(document)


class _Scan:
    """Reads on from ``since`` until ``limit`` changes pass, or there is nothing more, or enough were looked at."""

    def __init__(self, since: int, limit: int, passes: Callable[[Document], bool] | None) -> None:
        self._since, self._limit, self._passes = since, limit, passes

    def __call__(self, reader: Reader) -> Page:
        passes = self._passes
        if passes is None:
            entries, last, more = reader.entries_since(self._since, self._limit)
            rows = [_row(entry) for entry in entries]
            return Page(rows, last, reader.seq() - last, not more)
        rows = []
        entries, last, more = reader.entries_since(self._since, SCAN)
        ended = not more
        for entry in entries:
            document = entry.document()
            if document is not None and passes(document):
                rows.append(_row(entry, document))
                if len(rows) == self._limit and entry.seq != last:
                    last, ended = entry.seq, False
                    break
        return Page(rows, last, reader.seq() - last, ended)


def _row(entry: Entry, document: dict[str, Any] | None = None) -> Row:
    """With the document itself when it is a file, which most are: they are small, and need not be looked up again."""
    if not entry.plain_file:
        return Row(entry.id, tuple([leaf.rev for leaf in entry.leaves()]))
    document = document or entry.document()
    if document is not None:
        document["_revisions"] = entry.revisions(entry.rev)
    return Row(entry.id, (entry.rev,), document)
