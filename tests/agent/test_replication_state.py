"""What an agent says of its replication: when it is not well, why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.errors import Unavailable
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


async def test_what_keeps_it_from_coming_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after it has worked before: what could not be kept is not forgotten, and replication waits."""
    requests = PlainRequests("http://127.0.0.1:9")
    store = await Store.open(tmp_path / "replica.db")
    told: list[dict[str, object]] = []
    replication = Replication(
        store, "node-laptop", requests, pause=pausing(lambda: told.append(replication.subsystem()))
    )

    async def meet() -> None:
        if told:
            raise asyncio.CancelledError
        raise Unavailable("it cannot be kept: No space left on device")

    monkeypatch.setattr(replication, "meet", meet)
    monkeypatch.setattr(replication, "_replicators", (Stopped(),))
    try:
        with pytest.raises(asyncio.CancelledError):
            await replication.run()
    finally:
        await store.close()
        await requests.close()
    assert [(one["status"], one["detail"]) for one in told] == [
        ("degraded", "it cannot be kept: No space left on device")
    ]


class Stopped:
    """A replicator of before."""

    status = Status(state="idle")


def pausing(look: Callable[[], None]) -> Callable[[float], Awaitable[None]]:
    async def pause(_: float) -> None:
        look()

    return pause
