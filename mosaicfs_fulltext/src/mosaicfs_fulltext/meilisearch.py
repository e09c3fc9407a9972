"""A Meilisearch server as a backend.

Changes that wait together go there in one request each way, in order. The server answers with a task, which is safe
from then on; that it succeeded is waited for, so that what the server refuses is an error of the event and no silence.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import groupby
from typing import Any, Final, NamedTuple

import aiohttp

from mosaicfs_core.hooks import Fragment, MosaicError, NotAllowed, Unavailable, UserError
from mosaicfs_fulltext.backend import Result, Stats
from mosaicfs_fulltext.entries import Change, Entry, Removal
from mosaicfs_fulltext.query.syntax import MOST_CHARACTERS

_MOST_CHANGES: Final = 500
_MOST_CHARACTERS: Final = 8_000_000
_TASK_S: Final = 45.0
_REQUEST_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.02
_MOST_PAUSE_S: Final = 0.5
_BEGIN, _END = "\ue000", "\ue001"
_CROP_WORDS: Final = 40
_spaces: Final = re.compile(r"\s")
_SETTINGS: Final[Mapping[str, Any]] = {
    "searchableAttributes": ["name", "title", "text", "path"],
    "filterableAttributes": ["id", "node_id", "status"],
    "displayedAttributes": ["*"],
}
_FACTS: Final = ("file_id", "node_id", "path", "name", "size", "mtime", "status", "title", "language", "reason")


class _Waiting(NamedTuple):
    change: Change
    text: str
    taken: asyncio.Future[None]


class Meilisearch:
    """Made by ``open``. Belongs to one event loop."""

    def __init__(self, session: aiohttp.ClientSession, url: str, index: str, node_id: str) -> None:
        self._session, self._url, self._index, self._node_id = session, url.rstrip("/"), index, node_id
        self._new: list[_Waiting] = []
        self._woken = asyncio.Event()
        self._sending = asyncio.create_task(self._send_for_ever(), name="fulltext meilisearch")

    @classmethod
    async def open(cls, url: str, key: str, index: str, node_id: str) -> Meilisearch:
        """Reach the server and make the index what it has to be. Raises ``Unavailable``, ``NotAllowed``,
        ``UserError``."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=_REQUEST_S))
        backend = cls(session, url, index, node_id)
        try:
            await backend._prepare()
        except BaseException:
            await backend.close()
            raise
        return backend

    @property
    def broken(self) -> bool:
        """Whether what sends changes has ended, which nothing should make it do."""
        return self._sending.done()

    @property
    def trouble(self) -> str | None:
        """Whether the server takes changes shows with each of them."""
        return None

    async def apply(self, change: Change, text: str | None = None) -> None:
        """Returns once the server has carried the change out."""
        if text is None:
            text = "" if isinstance(change, Removal) else change.text()
        taken = asyncio.get_running_loop().create_future()
        self._new.append(_Waiting(change, text, taken))
        self._woken.set()
        await taken

    async def flush(self) -> None:
        """Nothing is held back: what was taken is to be found."""

    def expect_many(self, many: bool) -> None:
        """It makes no difference."""

    async def search(self, text: str, limit: int, seconds: float) -> list[Result]:
        """The best files; the server's own syntax: words, "phrases", -words."""
        written = text[:MOST_CHARACTERS].encode("utf-8", "replace").decode().strip()
        if not written:
            return []
        asked = {
            "q": written,
            "limit": max(0, limit),
            "attributesToRetrieve": ["file_id", "title", "language"],
            "attributesToCrop": ["text"],
            "cropLength": _CROP_WORDS,
            "attributesToHighlight": ["text"],
            "highlightPreTag": _BEGIN,
            "highlightPostTag": _END,
            "showRankingScore": True,
            "matchingStrategy": "all",
        }
        answer = await self._ask("POST", f"/indexes/{self._index}/search", asked)
        with self._understood():
            return [_result(hit) for hit in answer["hits"]]

    async def known(self, file_ids: Sequence[str]) -> dict[str, Entry]:
        """What the index has of these files."""
        keys = ", ".join(_key(file_id) for file_id in file_ids)
        found = await self._entries(f"id IN [{keys}]", len(file_ids)) if file_ids else []
        return {entry.file_id: entry for entry in found}

    async def entry(self, file_id: str) -> Entry | None:
        """None: a file that moved is read again rather than fetched from the server."""
        return None

    async def of_status(self, status: str, limit: int) -> list[Entry]:
        """Some of this node's files of a status."""
        return await self._entries(f"status = {status} AND node_id = {json.dumps(self._node_id)}", limit)

    async def stats(self) -> Stats:
        """The server's figures, those of other nodes' files included; failures are this node's, up to a page."""
        answer = await self._ask("GET", f"/indexes/{self._index}/stats")
        failed = await self.of_status("failed", 1000)
        postponed = await self.of_status("postponed", 1000)
        with self._understood():
            return Stats(
                documents=answer["numberOfDocuments"],
                with_text=answer["fieldDistribution"].get("text", 0),
                failed=len(failed),
                postponed=len(postponed),
                size=answer.get("rawDocumentDbSize"),
                waiting=len(self._new),
            )

    async def forget_node(self) -> None:
        """Remove the files of this node."""
        condition = f"node_id = {json.dumps(self._node_id)}"
        await self._do("POST", f"/indexes/{self._index}/documents/delete", {"filter": condition})

    async def close(self) -> None:
        """End what is under way; whoever waits is told that it did not happen."""
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)
        self._refuse(self._new, Unavailable("the index is closed"))
        await self._session.close()

    # -- changes ---------------------------------------------------------------------------------------------------

    async def _send_for_ever(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._new:
                group = self._next_group()
                try:
                    await self._send(group)
                except MosaicError as error:
                    self._refuse(group, error)
                except BaseException:
                    self._refuse(group, Unavailable("the index is closed"))
                    raise
                else:
                    for one in group:
                        if not one.taken.done():
                            one.taken.set_result(None)

    def _next_group(self) -> list[_Waiting]:
        """As many of the waiting changes as go into a request; the first in any case."""
        characters = count = 0
        for one in self._new[:_MOST_CHANGES]:
            characters += len(one.text)
            if count and characters > _MOST_CHARACTERS:
                break
            count += 1
        group, self._new = self._new[:count], self._new[count:]
        return group

    async def _send(self, group: Sequence[_Waiting]) -> None:
        for removing, some in groupby(group, lambda one: isinstance(one.change, Removal)):
            if removing:
                keys = ", ".join(_key(one.change.file_id) for one in some)
                await self._do("POST", f"/indexes/{self._index}/documents/delete", {"filter": f"id IN [{keys}]"})
            else:
                documents = [_document(one.change, one.text) for one in some if isinstance(one.change, Entry)]
                await self._do("POST", f"/indexes/{self._index}/documents?primaryKey=id", documents)

    def _refuse(self, group: Sequence[_Waiting], error: MosaicError) -> None:
        for one in group:
            if not one.taken.done():
                one.taken.set_exception(error)

    # -- the server ------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """An index with the settings that searches need. Both requests change nothing where all is as it should be."""
        await self._do("POST", "/indexes", {"uid": self._index, "primaryKey": "id"}, unless="index_already_exists")
        await self._do("PATCH", f"/indexes/{self._index}/settings", _SETTINGS)

    async def _entries(self, condition: str, limit: int) -> list[Entry]:
        asked = {"q": "", "filter": condition, "limit": limit, "attributesToRetrieve": list(_FACTS)}
        answer = await self._ask("POST", f"/indexes/{self._index}/search", asked)
        with self._understood():
            return [Entry(**{name: hit[name] for name in _FACTS}) for hit in answer["hits"]]

    async def _do(self, method: str, path: str, body: Any, *, unless: str | None = None) -> None:
        """Have a task done. ``unless`` is the code of a failure that is none."""
        begun = await self._ask(method, path, body)
        with self._understood():
            number = int(begun["taskUid"])
        pause, left = _FIRST_PAUSE_S, _TASK_S
        while True:
            task = await self._ask("GET", f"/tasks/{number}")
            with self._understood():
                status, kind, error = task["status"], task["type"], task.get("error") or {}
                code, message = error.get("code"), error.get("message")
            if status == "succeeded":
                return
            if status in ("failed", "canceled"):
                if code == unless:
                    return
                raise UserError(f"Meilisearch refused {kind}: {message or status}")
            if left <= 0:
                raise Unavailable(f"Meilisearch did not carry out {kind} within {_TASK_S:g} s")
            await asyncio.sleep(pause)
            left, pause = left - pause, min(pause * 2, _MOST_PAUSE_S)

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer to a request. Raises ``Unavailable`` when there is none to be had now."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            async with self._session.request(method, self._url + path, data=data, headers=headers) as response:
                text = await response.text()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"Meilisearch at {self._url} cannot be reached: {error or 'no answer'}") from error
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"{self._url} does not answer as Meilisearch does (status {status})")
        if status >= 400:
            raise _error(status, answer)
        return answer

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """For taking an answer apart: one that lacks what it should have is ``Unavailable``."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"{self._url} does not answer as Meilisearch does: {error!r}") from error


def _error(status: int, answer: Mapping[str, Any]) -> MosaicError:
    message = f"Meilisearch: {answer.get('message') or status}"
    if status in (401, 403):
        return NotAllowed(message)
    return Unavailable(message) if status >= 500 or status in (408, 429) else UserError(message)


def _key(file_id: str) -> str:
    """A key for a file: the server takes letters, digits, - and _ alone."""
    return blake2b(file_id.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _document(entry: Entry, text: str) -> dict[str, Any]:
    document: dict[str, Any] = {name: getattr(entry, name) for name in _FACTS}
    document["id"] = _key(entry.file_id)
    if text:
        document["text"] = text
    return document


def _result(hit: Mapping[str, Any]) -> Result:
    fragment = _fragment(str((hit.get("_formatted") or {}).get("text") or ""))
    return Result(
        file_id=str(hit["file_id"]),
        score=float(hit.get("_rankingScore") or 0.0),
        fragments=(fragment,) if fragment.highlights else (),
        title=str(hit.get("title") or ""),
        language=str(hit.get("language") or ""),
    )


def _fragment(marked: str) -> Fragment:
    """A piece of text from one with marks around what was found."""
    pieces: list[str] = []
    highlights: list[tuple[int, int]] = []
    at = 0
    for number, piece in enumerate(marked.split(_BEGIN)):
        inside, end, after = piece.partition(_END)
        if number and end:
            highlights.append((at, at + len(inside)))
        text = inside + after
        pieces.append(text)
        at += len(text)
    return Fragment(text=_spaces.sub(" ", "".join(pieces)), highlights=tuple(highlights))
