"""Work that a request starts and does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from mosaicfs_core.server.state import ServerState
from mosaicfs_core.supervision import end_tasks, logged

T = TypeVar("T")


def spawn(server: ServerState, name: str, work: Coroutine[Any, Any, Any]) -> bool:
    """Run ``work`` beside the requests, once at a time by name; False when it is under way already.

    What it raises is logged: nobody waits for it. ``stop`` cancels what is left at shutdown.
    """
    if any(task.get_name() == name for task in server.background):
        work.close()
        return False
    task = asyncio.create_task(logged(name, work), name=name)
    server.background.add(task)
    task.add_done_callback(server.background.discard)
    return True


async def finished(server: ServerState, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns. It goes on to its end even when the request that waits for it is cancelled."""
    task = asyncio.create_task(work)
    server.background.add(task)
    task.add_done_callback(server.background.discard)
    return await asyncio.shield(task)


async def stop(server: ServerState) -> None:
    """Cancel what is still running and wait for its end."""
    await end_tasks(*server.background)
