"""Protects previews: what unsaved mounts would show, counted exactly up to a bound, with the chains they inherit."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core.errors import UserError
from mosaicfs_vfs.namespace import preview as module


@pytest.fixture(params=["walked", "by membership"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small sources are looked at file by file, large ones through a membership: both must agree."""
    if request.param == "by membership":
        monkeypatch.setattr(module, "WALKED", 0)
    return str(request.param)


def preview(world: Any, path: str, *mounts: Any, limit: int = 100) -> Any:
    world.namespace.refresh()
    return world.namespace.preview(
        path, [{key: value for key, value in m.items() if key != "mount_id"} for m in mounts], limit
    )


@pytest.mark.usefixtures("way")
def test_matches_with_the_paths_they_would_have(world: Any) -> None:
    world.file("/s/a.pdf")
    world.file("/s/deep/b.pdf")
    world.file("/s/c.txt")
    world.file("/s/large.pdf", size=1000)
    world.directory("/top", steps=[{"op": "size", "max_bytes": 10}], enforce_steps_on_children=True)
    pdf = world.mount("/s", steps=[{"op": "glob", "pattern": "*.pdf"}])
    found = preview(world, "/top/new", pdf, pdf)
    assert sorted(match.path for match in found.items) == ["/top/new/a.pdf", "/top/new/deep/b.pdf"]
    assert (found.total, found.more) == (2, False)
    flat = preview(world, "/top/new", {**pdf, "strategy": "flatten", "source": {"node_id": "*", "export_path": "/"}})
    assert sorted(match.path for match in flat.items) == ["/top/new/a.pdf", "/top/new/b.pdf"]
    assert preview(world, "/d", world.mount("/nowhere")).total == 0


@pytest.mark.usefixtures("way")
def test_the_count_is_exact_up_to_a_bound(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED", 3)
    mounts = [world.mount("/s"), world.mount("/s", steps=[{"op": "glob", "pattern": "*"}])]
    for number in range(4):
        found = preview(world, "/d", *mounts, limit=2)
        assert (found.total, found.more, len(found.items)) == (number, False, min(number, 2))
        world.file(f"/s/{number}")
    found = preview(world, "/d", *mounts, limit=2)
    assert (found.total, found.more) == (3, True)


def test_a_preview_leaves_the_tree_alone_and_follows_it(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WALKED", 0)
    for number in range(5):
        steps = [{"op": "size", "max_bytes": number}]
        assert preview(world, "/d", world.mount("/s", steps=steps)).total == 0
        world.file("/s/a", size=2)
        assert preview(world, "/d", world.mount("/s", steps=steps)).total == int(number >= 2)
        world.delete_file(world.file("/s/a", size=2))
    assert world.names("/") == []


def test_a_draft_that_could_not_be_saved(world: Any) -> None:
    with pytest.raises(UserError) as raised:
        preview(world, "/d", world.mount("/s", steps=[{"op": "regex", "pattern": "("}]))
    assert raised.value.details["field"] == "mounts[0].steps[0].pattern"
    unknown = preview(world, "/d", world.mount("/s", steps=[{"op": "unheard_of"}]))
    assert "unheard_of" in unknown.warnings[0]
