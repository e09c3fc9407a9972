"""What agents ask the control plane over their links. Each method knows who asks: the signature proved it."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import MosaicError, NotAllowed, UserError
from mosaicfs_core.link import params_of
from mosaicfs_core.link.messages import error_of
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.server.link.asking import THROUGH, ask
from mosaicfs_core.server.link.links import Links
from mosaicfs_core.server.link.relay import Relay
from mosaicfs_core.server.link.seed import seed
from mosaicfs_core.server.moves import Followed

logger = logging.getLogger(__name__)

_MOVES_AT_ONCE: Final = 500


class AskParams(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a node, of those that agents may ask (``asking.THROUGH``), and how long the agent waits for it."""

    node_id: Annotated[str, Meta(pattern=f"^{ids.NODE_ID_PATTERN}{END}")]
    method: str
    params: dict[str, Any]
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 30.0


def install(links: Links, relay: Relay, core: CoreServices, seeding: asyncio.Lock) -> None:
    """Let agents ask ``ask``, ``ping``, ``push_failed`` and ``seed``; one ``seed`` at a time, by the lock."""

    async def ask_one(_node_id: str, given: dict[str, Any]) -> Any:
        asked = params_of(AskParams, given)
        if asked.method not in THROUGH:
            raise NotAllowed(f"{asked.method} is not for agents to ask of other nodes")
        return await ask(core, links, asked.node_id, asked.method, asked.params, asked.timeout_s)

    async def ping(_node_id: str, _given: dict[str, Any]) -> dict[str, str]:
        return {"time": times.format_time(times.now_micros())}

    async def push_failed(node_id: str, given: dict[str, Any]) -> None:
        ticket = given.get("ticket")
        if not isinstance(ticket, str):
            raise UserError("ticket: expected a text", field="ticket")
        relay.fail(node_id, ticket, error_of({"code": given.get("code"), "message": given.get("message")}))

    async def seed_one(node_id: str, given: dict[str, Any]) -> dict[str, list[str]]:
        async with seeding:
            return await seed(core.store, node_id, given)

    links.methods |= {"ask": ask_one, "ping": ping, "push_failed": push_failed, "seed": seed_one}


async def tell_followed(links: Links, followed: Followed) -> None:
    """Tell the agents that are connected which of their files' labels have followed; the others hear of it later."""
    by_node: defaultdict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for file_id, move in followed.items():
        by_node[file_id.split("::")[1]][file_id] = move
    for node_id, moves in by_node.items():
        if not links.connected(node_id):
            continue
        items = list(moves.items())
        for start in range(0, len(items), _MOVES_AT_ONCE):
            part = {file_id: list(move) for file_id, move in items[start : start + _MOVES_AT_ONCE]}
            try:
                await links.call(node_id, "moves_followed", {"moves": part})
            except MosaicError as error:
                logger.info("%s was not told of its moved files: %s", node_id, error, extra={"operation": "moves"})
                break
