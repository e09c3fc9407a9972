"""Protects what somebody has made and a control plane has lost: its last copy is kept where its owner finds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mosaicfs_core.agent.forgotten import Forgotten
from mosaicfs_core.testing.store import assignment, file_document, rule

pytestmark = pytest.mark.logs("is kept in")


async def test_what_is_somebodys_work_is_kept_in_one_file(tmp_path: Path) -> None:
    forgotten = Forgotten(tmp_path)
    await forgotten.keep([file_document("/a")])
    assert not forgotten.told
    assert list(tmp_path.iterdir()) == []
    made = [rule("/x/", "red"), assignment("/a", "blue")]
    for one in (*made, made[0]):
        await forgotten.keep([one, file_document("/b")])
    (file,) = tmp_path.iterdir()
    assert str(file) in forgotten.told
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_bytes()) == {"new_edits": False, "docs": made}
    assert Forgotten(tmp_path).told == forgotten.told, "also after a restart"
