"""This machine's settings, offered to a control plane that has forgotten them before its state is taken over here.

A machine's plugin documents are the control plane's, and live in the machine's own replica too. One that was made anew,
or restored from a copy, or that is joined by a machine that was used alone, is told of them first: so what it lacks is
there when the machine takes over what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mosaicfs_core.agent.asked import asked
from mosaicfs_core.documents import times
from mosaicfs_core.errors import MosaicError, NotFound, NotSignedIn, Stale, Unavailable
from mosaicfs_core.replication.recovery import Meeting
from mosaicfs_core.security.requests import Requests
from mosaicfs_core.store import Store

logger = logging.getLogger(__name__)

PATH: Final = "/api/agent/configuration"
TOGETHER_BYTES: Final = 1 << 20
"""Of settings in one request: half of what a control plane takes (``MAX_BODY_BYTES`` of the server)."""
TOLD_DAYS: Final = 14
"""How long a machine's status tells of its last offer."""
_PLACE: Final = "offered-configuration"
_TOO_OLD: Final = "that control plane is of a version that takes no settings back"
_HAPPENED: Final[dict[Meeting, str]] = {
    "first": "this machine, used alone before, joined the control plane",
    "restored": "the control plane was restored or made anew",
}


class _Item(NamedTuple):
    """An instance that is offered: its document as JSON."""

    name: str
    body: bytes


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What people are told of an offer, and when that was, in microseconds since the epoch."""

    told: str = ""
    at: int = 0


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the control plane did (``OfferAnswer`` of the server)."""

    made: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    refused: dict[str, str] = {}


class Offered:
    """What was offered last, in the replica, beside what is replicated."""

    def __init__(self, store: Store, node_id: str, requests: Requests) -> None:
        self._store = store
        self._node_id = node_id
        self._requests = requests
        self._last = _Told()

    @property
    def told(self) -> str:
        """When the control plane had last forgotten something, and what became of this machine's settings, for
        ``TOLD_DAYS``; empty otherwise."""
        return self._last.told if times.now_micros() - self._last.at < TOLD_DAYS * times.MICROS_PER_DAY else ""

    async def load(self) -> None:
        """Learn what became of the last offer."""
        kept = await self._store.local_get(_PLACE) or {}
        if "at" in kept:
            self._last = _Told(told=str(kept["told"]), at=int(kept["at"]))

    async def offer(self, meeting: Meeting) -> None:
        """Offer what is set here. Whatever is not taken is told, and stands in nobody's way. Raises ``Unavailable``
        when the control plane cannot be reached, ``NotSignedIn`` when it does not know this machine."""
        documents = await self._store.read(lambda reader: reader.documents_of("plugin", (self._node_id,)))
        made = [one for part in _batches(documents) for one in await self._ask(part)]
        said = _summary(made)
        if meeting == "first" and not said:  # it had nothing of its own
            return
        now = times.now_micros()
        happened = f"{times.format_time(now)[:19]}Z: {_HAPPENED[meeting]}"
        self._last = _Told(told=f"{happened}; {said or 'it had all settings of this machine'}", at=now)
        logger.warning("%s", self._last.told, extra={"operation": "replication"})
        await self._keep()

    async def _ask(self, part: Sequence[_Item]) -> list[_Outcome]:
        """Offer some of them; one by one where they are refused together, since one may spoil it for the others."""
        body = b'{"documents":[%b]}' % b",".join(one.body for one in part)
        try:
            return [msgspec.json.decode(await asked(self._requests, "POST", PATH, body), type=_Outcome)]
        except (Unavailable, NotSignedIn):
            raise
        except NotFound:
            return [_Outcome(refused={one.name: _TOO_OLD for one in part})]
        except msgspec.MsgspecError as error:
            why = f"what answers there is no control plane: {error}"
        except MosaicError as error:
            why = error.message
        if len(part) > 1:
            return [found for one in part for found in await self._ask([one])]
        return [_Outcome(refused={part[0].name: why})]

    async def _keep(self) -> None:
        kept = await self._store.local_get(_PLACE) or {}
        try:
            await self._store.local_put(_PLACE, {**kept, "told": self._last.told, "at": self._last.at})
        except Stale:  # two at once: either has said the same
            logger.info("the settings of this machine were offered twice at once")


def _batches(documents: Sequence[dict[str, Any]]) -> Iterator[list[_Item]]:
    """The documents as they are sent, of no more than ``TOGETHER_BYTES`` at once unless one alone is larger. Pure."""
    part: list[_Item] = []
    for document in documents:
        item = _Item(str(document["plugin_name"]), msgspec.json.encode(_bare(document)))
        if part and sum(len(one.body) for one in part) + len(item.body) > TOGETHER_BYTES:
            yield part
            part = []
        part.append(item)
    if part:
        yield part


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in ("_id", "_rev") or name[:1] != "_"}


def _summary(parts: list[_Outcome]) -> str:
    """What became of an offer, for people; empty where everything was known. Pure."""
    made = [name for part in parts for name in part.made]
    folders = [folder for part in parts for folder in part.folders]
    differing = [name for part in parts for name in part.differing]
    said = []
    if made:
        said.append(f"it took the settings of this machine back: {', '.join(sorted(made))}")
    if folders:
        said.append(f"it was told of the folders {', '.join(folders)}")
    if differing:
        said.append(f"its own settings hold for {', '.join(sorted(differing))}: see mosaicfs plugin settings there")
    said += [
        f"{name} was not taken, its files stay indexed as they are: {why}; add it again there"
        for part in parts
        for name, why in sorted(part.refused.items())
    ]
    return "; ".join(said)
