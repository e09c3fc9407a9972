"""This machine's settings, offered to a control plane that has forgotten them before its state is taken over here.

A machine's plugin documents are the control plane's, and live in the machine's own replica too. One that was made anew,
or restored from a copy, is told of them first: so what it lacks is there when the machine takes over what is there.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from mosaicfs_core.agent.asked import asked
from mosaicfs_core.documents import times
from mosaicfs_core.errors import NotFound, Stale, UserError
from mosaicfs_core.security.requests import Requests
from mosaicfs_core.store import Store

logger = logging.getLogger(__name__)

PATH: Final = "/api/agent/configuration"
TOGETHER: Final = 20
_PLACE: Final = "offered-configuration"
_TOO_OLD: Final = "that control plane is of a version that takes no settings back"


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
        self.told = ""
        """When the control plane had last forgotten something, and what became of this machine's settings; empty when
        that never was."""

    async def load(self) -> None:
        """Learn what became of the last offer."""
        kept = await self._store.local_get(_PLACE)
        self.told = "" if kept is None else str(kept["told"])

    async def offer(self) -> None:
        """Offer what is set here. Raises ``Unavailable`` when the control plane cannot be reached."""
        documents = await self._store.read(lambda reader: reader.documents_of("plugin", (self._node_id,)))
        made: list[_Outcome] = []
        for start in range(0, len(documents), TOGETHER):
            body = msgspec.json.encode({"documents": [_bare(one) for one in documents[start : start + TOGETHER]]})
            try:
                made.append(msgspec.json.decode(await asked(self._requests, "POST", PATH, body), type=_Outcome))
            except msgspec.MsgspecError as error:
                raise UserError(f"what answers there is no control plane: {error}") from None
            except NotFound:
                made.append(_Outcome(refused={one["plugin_name"]: _TOO_OLD for one in documents}))
                break
        self.told = f"{times.now_text()[:19]}Z: the control plane was restored or made anew; {_summary(made)}"
        logger.warning("%s", self.told, extra={"operation": "replication"})
        await self._keep()

    async def _keep(self) -> None:
        kept = await self._store.local_get(_PLACE) or {}
        try:
            await self._store.local_put(_PLACE, {**kept, "told": self.told})
        except Stale:  # two at once: either has said the same
            logger.info("the settings of this machine were offered twice at once")


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in ("_id", "_rev") or name[:1] != "_"}


def _summary(parts: list[_Outcome]) -> str:
    """What became of an offer, for people. Pure."""
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
    return "; ".join(said) or "it had all settings of this machine"
