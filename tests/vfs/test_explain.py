"""Protects the answer to "why is it here, why is it not": every cause is told apart, and named with what led to it."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.errors import NotFound, UserError


def short_id(document: Any) -> str:
    return d.short_file_id(document["_id"])


def explain(world: Any, path: str | None = None, file: Any = None) -> Any:
    world.namespace.refresh()
    return world.namespace.explain(path, None if file is None else short_id(file))


def watch(world: Any, *paths: str, **settings: Any) -> None:
    """A crawler instance that watches these folders of node-a."""
    world.put(
        {
            "_id": d.plugin_document_id("node-a", "localfs"),
            "type": "plugin",
            "node_id": "node-a",
            "plugin_name": "localfs",
            "name": "Local files",
            "watches": "paths",
            "settings": {"paths": list(paths), **settings},
            "created_at": d.format_time(world.now),
        }
    )


def test_shown(world: Any) -> None:
    file = world.file("/s/a.txt")
    world.directory("/d", world.mount("/s", steps=[{"op": "glob", "pattern": "*.txt"}]))
    for answer in (explain(world, "/d/a.txt"), explain(world, file=file), explain(world, "/d/a.txt", file)):
        assert (answer.shown, answer.reason, answer.paths) == (True, None, ("/d/a.txt",))
        (mount,) = answer.mounts
        (chain,) = mount.chains
        assert [(step.op, step.matched, step.result) for step in chain.steps] == [
            ("glob", True, "continue"),
            ("default_result", None, "include"),
        ]


def test_a_step(world: Any) -> None:
    file = world.file("/s/a.txt")
    world.directory("/d", world.mount("/s", steps=[{"op": "size", "max_bytes": 9}, {"op": "glob", "pattern": "*.pdf"}]))
    for answer in (explain(world, "/d/a.txt"), explain(world, file=file), explain(world, "/s/a.txt")):
        assert (answer.shown, answer.reason) == (False, "step")
        assert "Step 2 (glob)" in answer.message


def test_the_default_of_a_chain(world: Any) -> None:
    world.file("/s/a.txt")
    steps = [{"op": "glob", "pattern": "*.pdf", "on_match": "include"}]
    world.directory("/d", world.mount("/s", steps=steps, default_result="exclude"))
    answer = explain(world, "/d/a.txt")
    assert answer.reason == "step"
    assert "No step" in answer.message


def test_an_inherited_chain(world: Any) -> None:
    world.file("/s/a.txt")
    world.directory("/up", steps=[{"op": "glob", "pattern": "*.pdf"}], enforce_steps_on_children=True)
    world.directory("/up/d", world.mount("/s", steps=[{"op": "glob", "pattern": "*.txt"}]))
    answer = explain(world, "/up/d/a.txt")
    assert answer.reason == "inherited_step"
    assert "/up," in answer.message
    outer, own = answer.mounts[0].chains
    assert (outer.inherited, outer.passes, own.inherited, own.passes) == (True, False, False, True)


def test_a_conflict_names_the_winner(world: Any) -> None:
    old = world.file("/s/1/a.txt", age=2)
    new = world.file("/s/2/a.txt", age=1)
    world.directory("/d", world.mount("/s", strategy="flatten"))
    answer = explain(world, "/d/a.txt", old)
    assert (answer.shown, answer.reason, answer.mounts[0].winner) == (False, "conflict", short_id(new))
    assert explain(world, file=new).shown
    world.directory("/d", world.mount("/s", strategy="flatten", conflict_policy="suffix_node_id"))
    answer = explain(world, file=old)
    assert answer.shown
    assert answer.paths[0].startswith("/d/a (node-a ")
    assert answer.mounts[0].winner == short_id(new)


def test_a_directory_in_its_place(world: Any) -> None:
    file = world.file("/s/x")
    world.directory("/d", world.mount("/s"))
    world.directory("/d/x")
    answer = explain(world, file=file)
    assert (answer.reason, answer.mounts[0].winner) == ("conflict", None)
    assert explain(world, "/d/x").kind == "directory"


def test_deleted(world: Any) -> None:
    file = world.delete_file(world.file("/s/a.txt"))
    world.directory("/d", world.mount("/s"))
    for answer in (explain(world, "/d/a.txt"), explain(world, file=file), explain(world, "/s/a.txt")):
        assert (answer.shown, answer.reason) == (False, "deleted")


def test_no_mount_covers_it(world: Any) -> None:
    file = world.file("/s/a.txt")
    world.directory("/d", world.mount("/t"))
    for answer in (explain(world, file=file), explain(world, "/s/a.txt")):
        assert (answer.shown, answer.reason) == (False, "no_mount")


def test_it_is_elsewhere(world: Any) -> None:
    file = world.file("/s/a.txt")
    world.directory("/d", world.mount("/s"))
    answer = explain(world, "/e/a.txt", file)
    assert (answer.shown, answer.reason, answer.paths) == (False, "elsewhere", ("/d/a.txt",))


def test_never_indexed(world: Any) -> None:
    world.file("/s/other.txt")
    watch(world, "/s")
    world.directory("/d", world.mount("/s"))
    answer = explain(world, "/d/a.txt")
    assert (answer.reason, answer.file) == ("never_indexed", None)
    assert "watched folder /s" in answer.message
    assert "no watched folder" in explain(world, "/elsewhere/a.txt").message


def test_a_file_that_a_plugin_would_provide(world: Any) -> None:
    world.file("/recipes/soup.txt")
    world.put(
        {
            "_id": d.plugin_document_id("node-a", "recipes"),
            "type": "plugin",
            "node_id": "node-a",
            "plugin_name": "recipes",
            "name": "Recipes",
            "provides_filesystem": True,
            "created_at": d.format_time(0),
        }
    )
    world.directory("/d", world.mount("/recipes"))
    for path in ("/d/tea.txt", "/recipes/tea.txt"):
        answer = explain(world, path)
        assert (answer.reason, answer.places) == ("never_indexed", ())
        assert "/recipes/tea.txt lies where recipes of node-a has its files" in answer.message


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/empty/x.md", "no mount brings files to /empty"),
        ("/nope", "no mount brings files to /."),
        ("/q/w/x.md", "There is no directory /q in the tree"),
        ("/empty/w/x.md", "There is no directory /empty/w in the tree"),
        ("/d/x.md", "no mount of /d has a file for /d/x.md"),
    ],
)
def test_a_path_of_the_tree_is_told_what_the_tree_lacks(world: Any, path: str, why: str) -> None:
    world.directory("/empty")
    world.file("/s/a.txt")
    world.directory("/d", world.mount("/s", strategy="flatten"))
    answer = explain(world, path)
    assert (answer.reason, answer.shown) == ("never_indexed", False)
    assert why in answer.message
    assert f"no watched folder holds {path}" in answer.message


def test_folders_in_the_home_are_watched_folders(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    world.file("/home/u/s/other.txt")
    watch(world, "~/s")
    assert "watched folder /home/u/s" in explain(world, "/home/u/s/a.txt").message


def test_patterns_are_the_crawlers_to_judge(world: Any) -> None:
    world.file("/s/other.txt")
    watch(world, "/s", ignore=["*.log", "!keep.log"])
    world.directory("/d", world.mount("/s"))
    for name in ("keep.log", "other.log"):
        assert explain(world, f"/d/{name}").reason == "never_indexed"


def test_ignored_as_the_agent_recorded_it(world: Any) -> None:
    world.file("/s/other.txt")
    watch(world, "/s")
    message = "the pattern private in /s/.mosaicfsignore"
    problem = {"kind": "ignored", "export_path": "/s/private", "message": message, "count": 1}
    crawler = {"status": "healthy", "detail": "", "problems": [problem]}
    world.put(
        {
            "_id": d.status_document_id("node-a"),
            "type": "agent_status",
            "node_id": "node-a",
            "updated_at": d.format_time(world.now),
            "overall": "healthy",
            "subsystems": {"crawler": crawler},
        }
    )
    answer = explain(world, "/s/private/diary.txt")
    assert answer.reason == "ignored"
    assert ".mosaicfsignore" in answer.message


def test_a_status_at_hand_is_asked_before_the_document(world: Any) -> None:
    world.file("/s/other.txt")
    watch(world, "/s")
    problems = [
        {"kind": "ignored", "export_path": "/s", "message": "more in this folder", "count": 7},
        {"kind": "symlink", "export_path": "/s/link", "message": "symbolic links are not followed", "count": 1},
    ]
    live = {"node-a": {"subsystems": {"crawler": {"problems": problems}}}}
    answer = world.namespace.explain("/s/link", live=live)
    assert (answer.reason, "symbolic links" in answer.message) == ("never_indexed", True)
    assert "was not crawled yet" in world.namespace.explain("/s/a", live=live).message


def test_a_mount_that_cannot_show_anything(world: Any) -> None:
    file = world.file("/s/a.txt")
    world.directory("/d", world.mount("/s", source_prefix="/t"))
    answer = explain(world, file=file)
    assert answer.reason == "broken_mount"
    assert world.namespace.list("/d").warnings


def test_directories_and_what_is_nothing(world: Any) -> None:
    world.file("/s/in/a.txt")
    world.directory("/d", world.mount("/s"))
    assert "virtual directory" in explain(world, "/d").message
    assert "because files" in explain(world, "/d/in").message
    with pytest.raises(UserError):
        world.namespace.explain()
    with pytest.raises(NotFound):
        world.namespace.explain(file_id=f"node-a.{d.new_uuid()}")
