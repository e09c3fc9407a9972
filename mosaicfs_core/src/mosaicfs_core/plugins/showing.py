"""How far the mounts of this machine show the replica, so that who changed the tree can wait until they show it; and
whether they still say anything."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 2.0
"""An edit is on every mount after so long at the latest; one that lags more than that keeps nobody waiting."""


class Showing:
    """What each mount said last: the update sequence up to which its listings, and the kernel's memory of them, are.

    Used by one event loop. A mount counts from the first time it says something until it is ``gone``.
    """

    def __init__(self) -> None:
        self._shown: dict[Hashable, int] = {}
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._heard: dict[Path, float] = {}

    def heard(self, place: Path) -> None:
        """The mount at ``place`` says that it is there."""
        self._heard[place] = time.monotonic()

    def forget(self, place: Path) -> None:
        """There is no mount at ``place`` any more."""
        self._heard.pop(place, None)

    def last_heard(self, place: Path) -> float | None:
        """When (``time.monotonic``) the mount at ``place`` last said that it is there; None where none ever did."""
        return self._heard.get(place)

    def tell(self, mount: Hashable, seq: int) -> None:
        """``mount`` shows all up to ``seq``."""
        self._shown[mount] = seq
        self._look()

    def gone(self, mount: Hashable) -> None:
        """``mount`` is not there any more, and nobody waits for it."""
        self._shown.pop(mount, None)
        self._look()

    async def wait(self, seq: int) -> None:
        """Return once all mounts show ``seq``, or after ``PATIENCE_S``."""
        if self._reached(seq):
            return
        reached = asyncio.get_running_loop().create_future()
        self._waiting[reached] = seq
        try:
            async with asyncio.timeout(PATIENCE_S):
                await reached
        except TimeoutError:
            _log.info("a mount does not show the latest changes yet", extra={"operation": "agent socket"})
        finally:
            del self._waiting[reached]

    def _reached(self, seq: int) -> bool:
        return all(shown >= seq for shown in self._shown.values())

    def _look(self) -> None:
        for reached, seq in self._waiting.items():
            if not reached.done() and self._reached(seq):
                reached.set_result(None)
