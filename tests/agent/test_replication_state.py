"""What an agent says of its replication: when it is not well, why."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.replication import Status
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.store import Store


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status(state="live"), ("healthy", "")),
        (Status(state="live", last_error="of before"), ("healthy", "")),
        (Status(state="waiting", last_error="it is away"), ("degraded", "it is away")),
        (Status(state="stopped", last_error="it was refused"), ("degraded", "it was refused")),
        (Status(state="live", owed=1, last_error="503"), ("degraded", "503")),
        (
            Status(state="live", refused=1200),
            ("degraded", "1,200 documents were refused by the side that they were for; its log says why"),
        ),
    ],
)
async def test_it_says_why_it_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status, said: tuple[str, str]
) -> None:
    monkeypatch.setattr(Replication, "status", status)
    requests = PlainRequests("http://127.0.0.1:9")
    store = await Store.open(tmp_path / "replica.db")
    try:
        told = Replication(store, "node-laptop", requests).subsystem()
    finally:
        await store.close()
        await requests.close()
    assert (told["status"], told["detail"]) == said
