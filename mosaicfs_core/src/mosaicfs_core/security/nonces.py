"""Nonces seen within the time window, so that no request is taken twice. Pure but for the time it is given.

Only nonces of requests whose signature held are kept, so nobody but the holder of a key can fill a key's memory. When
one fills it all the same, the oldest seconds are forgotten and requests signed in them are refused from then on: the
window of a key that sends thousands of requests a second becomes shorter, and never lets anything through twice.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from mosaicfs_core.documents.times import MICROS_PER_SECOND
from mosaicfs_core.security.signatures import REFUSED_SKEW_S

SLOT_S: Final = 10
MAX_PER_KEY: Final = 200_000
MAX_KEYS: Final = 1_000


class _Seen:
    """One key's nonces by the slot of their timestamp; timestamps in slots up to ``floor`` are refused."""

    __slots__ = ("count", "floor", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, set[int]] = {}
        self.count = 0
        self.floor = -1

    def drop(self, slot: int) -> None:
        self.count -= len(self.slots.pop(slot))
        self.floor = max(self.floor, slot)


class Nonces:
    """The window of one process. At most ``max_per_key`` nonces of a key are remembered; beyond ``max_keys`` keys,
    those that have been silent for the length of the window are forgotten."""

    def __init__(self, *, max_per_key: int = MAX_PER_KEY, max_keys: int = MAX_KEYS) -> None:
        self._max_per_key = max_per_key
        self._max_keys = max_keys
        self._keys: OrderedDict[str, _Seen] = OrderedDict()

    def __len__(self) -> int:
        return sum(seen.count for seen in self._keys.values())

    def first_time(self, key_id: str, nonce: str, signed_at: int, now: int) -> bool:
        """Note the nonce of a request whose signature and time hold; False when it was seen before, or when it is as
        old as what had to be forgotten. Times in microseconds."""
        oldest = (now // MICROS_PER_SECOND - REFUSED_SKEW_S) // SLOT_S - 1
        seen = self._seen(key_id, oldest)
        slot = signed_at // MICROS_PER_SECOND // SLOT_S
        # Eight bytes: two of 200,000 fall together once in a billion windows, and then a request is repeated.
        mark = int.from_bytes(hashlib.blake2b(nonce.encode(), digest_size=8).digest(), "big")
        if slot <= seen.floor or mark in seen.slots.get(slot, ()):
            return False
        seen.slots.setdefault(slot, set()).add(mark)
        seen.count += 1
        while seen.count > self._max_per_key:
            seen.drop(min(seen.slots))
        return True

    def _seen(self, key_id: str, oldest: int) -> _Seen:
        seen = self._keys.get(key_id)
        if seen is None:
            self._make_room(oldest)
            seen = self._keys[key_id] = _Seen()
        self._keys.move_to_end(key_id)
        for slot in [slot for slot in seen.slots if slot < oldest]:
            seen.drop(slot)
        return seen

    def _make_room(self, oldest: int) -> None:
        """Forget keys of which nothing inside the window is known."""
        if len(self._keys) < self._max_keys:
            return
        for key_id in [key for key, seen in self._keys.items() if all(slot < oldest for slot in seen.slots)]:
            del self._keys[key_id]
