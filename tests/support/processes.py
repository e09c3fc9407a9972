"""The end of processes that are nobody's children here."""

from __future__ import annotations

import asyncio
import os


async def ended(descriptor: int) -> None:
    """Wait for the end of a process, by its descriptor, which is closed then. Linux alone has such."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
