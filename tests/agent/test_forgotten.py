"""Protects what somebody has made and a control plane has lost: its last copy is kept where its owner finds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mosaicfs_core.agent.forgotten import Forgotten
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.testing.store import assignment, file_document, rule

pytestmark = pytest.mark.logs("is kept in")


async def test_what_is_somebodys_work_is_kept_as_it_comes(tmp_path: Path) -> None:
    forgotten = Forgotten(tmp_path)
    await forgotten.keep([file_document("/a"), {"_id": "annotation::a", "type": "annotation"}])
    assert not forgotten.told
    assert list(tmp_path.iterdir()) == []
    made = [rule("/x/", "red"), assignment("/a", "blue")]
    for one in made:
        await forgotten.keep([one, file_document("/b")])
    files = sorted(tmp_path.iterdir())
    assert [json.loads(file.read_bytes()) for file in files] == [{"new_edits": False, "docs": [one]} for one in made]
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert files == sorted(tmp_path.glob(Path(forgotten.told.split()[-1]).name))
    assert Forgotten(tmp_path).told == forgotten.told, "also after a restart"
    for file in files:
        file.unlink()
    assert not forgotten.told, "its owner has seen to it"


async def test_what_is_lost_another_time_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = Forgotten(tmp_path)
    for day in ("01", "01", "02"):
        monkeypatch.setattr("mosaicfs_core.documents.times.now_text", lambda day=day: f"2026-03-{day}T10:00:00.000000Z")
        forgotten.begin()
        await forgotten.keep([rule("/x/", "red")])
    days = ("01T100000.0001", "01T100000.0002", "02T100000.0001")
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"forgotten-2026-03-{day}.json" for day in days]
    assert forgotten.told.endswith("forgotten-2026-03-02T100000.0001.json")


async def test_what_cannot_be_kept_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mosaicfs_core.agent.forgotten.write_private", full)
    with pytest.raises(Unavailable, match=r"cannot be kept in .*No space left"):
        await Forgotten(tmp_path).keep([rule("/x/", "red")])
