"""Rate limits: token buckets by key, in bounded memory. Pure but for the clock it is given."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAX_TRACKED: Final = 10_000


class RateLimit:
    """A bucket of ``burst`` tokens for each key, refilled by one every ``refill_s`` seconds.

    At most ``max_tracked`` keys are remembered, the least recently used being forgotten first: an attacker who floods
    with fresh keys gains new buckets, never memory.
    """

    def __init__(
        self,
        burst: int,
        refill_s: float,
        *,
        max_tracked: int = MAX_TRACKED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.burst = burst
        self.refill_s = refill_s
        self._max = max_tracked
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> float:
        """Take a token; 0.0 when there was one, else the seconds until there will be."""
        now = self._clock()
        tokens = self._tokens(key, now)
        wait = self._wait(tokens)
        self._buckets.pop(key, None)
        self._buckets[key] = (tokens - 1.0 if wait == 0.0 else tokens, now)
        while len(self._buckets) > self._max:
            self._buckets.popitem(last=False)
        return wait

    def wait(self, key: str) -> float:
        """The seconds until there will be a token, 0.0 when there is one; takes none."""
        return self._wait(self._tokens(key, self._clock()))

    def _tokens(self, key: str, now: float) -> float:
        tokens, since = self._buckets.get(key, (float(self.burst), now))
        return min(float(self.burst), tokens + (now - since) / self.refill_s)

    def _wait(self, tokens: float) -> float:
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) * self.refill_s

    def forget(self, key: str) -> None:
        """Give the key a full bucket again (after it proved itself)."""
        self._buckets.pop(key, None)


class Proven:
    """Callers who have proved themselves, the ``most`` who did so last."""

    def __init__(self, most: int = MAX_TRACKED) -> None:
        self._most = most
        self._known: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, caller: str) -> bool:
        return caller in self._known

    def add(self, caller: str) -> None:
        """It has proved itself just now."""
        self._known[caller] = None
        self._known.move_to_end(caller)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def address_group(address: str) -> str:
    """What one caller can hold: the address itself for IPv4, the /64 network for IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
