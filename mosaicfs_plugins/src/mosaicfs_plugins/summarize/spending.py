"""How often the model was asked today, counted in a file, so that the count outlives every process."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import date
from pathlib import Path
from typing import Final

_FILE: Final = "requests.json"


class Spending:
    """The count of one instance. Several processes may count at once."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / _FILE

    def take(self, most: int) -> bool:
        """Count one more request of today, unless that were more than ``most`` (0: no limit). It is counted before it
        is made: one that fails may have cost something too."""
        if most == 0:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            today = date.today().isoformat()
            made = _made(file.read(), today)
            if made >= most:
                return False
            file.seek(0)
            file.truncate()
            json.dump({"day": today, "requests": made + 1}, file)
        return True


def _made(text: str, today: str) -> int:
    """The requests of today in a file that a kill may have left empty."""
    try:
        kept = json.loads(text)
        return int(kept["requests"]) if kept["day"] == today else 0
    except (ValueError, KeyError, TypeError):
        return 0
