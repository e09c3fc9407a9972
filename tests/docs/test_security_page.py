"""The signing function that the security page shows makes signatures that hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mosaicfs_core.security import signatures, user_keys

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def test_the_example_signs_as_we_do() -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    key_id, secret, body = "MOSAICFS_0123456789abcdef", "mosaicfs_" + "A" * 43, b'{"name": "x"}'
    header = names["authorization"](key_id, secret, "POST", "/api/credentials?a=1", body, "bytes=0-1")
    target = signatures.Target(
        method="POST",
        destination="control-plane",
        path="/api/credentials?a=1",
        range="bytes=0-1",
        body_sha256=signatures.sha256_of(body),
    )
    assert signatures.holds(user_keys.derive_signing_key(key_id, secret), signatures.parse(header), target)
