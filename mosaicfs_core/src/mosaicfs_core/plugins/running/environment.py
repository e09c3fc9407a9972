"""What a plugin's own process inherits of this one's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_PASSED_ON: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    }
)
_BEGINNINGS: Final = ("LC_", "PYTHON")


def environment_of_child(ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What Python and the network need, in either case, and nothing else: our own settings may hold secrets, and so may
    whatever else somebody has set here for another program."""
    return {name: value for name, value in ours.items() if name.upper() in _PASSED_ON or name.startswith(_BEGINNINGS)}
