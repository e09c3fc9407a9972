"""Protects readdir: what a directory shows for each strategy, chain, policy and kind of directory, and what a refresh
drops."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core.documents import MICROS_PER_DAY as DAY
from mosaicfs_core.errors import NotFound, UserError
from mosaicfs_vfs.namespace import DERIVED_INODES
from mosaicfs_vfs.namespace.follow import Follower


def test_an_empty_replica_has_an_empty_root(world: Any) -> None:
    root = world.namespace.list("/")
    assert (root.entries, root.inode) == ((), 1)
    assert world.namespace.next_expiry() is None


def test_prefix_replace_shows_the_tree_beneath_the_source(world: Any) -> None:
    world.file("/home/u/docs/a.txt", size=5)
    world.file("/home/u/docs/work/2025/b.txt")
    world.file("/home/u/other/c.txt")
    world.directory("/documents", world.mount("/home/u/docs"))
    assert world.names("/") == ["documents/"]
    assert world.names("/documents") == ["a.txt", "work/"]
    assert world.names("/documents/work") == ["2025/"]
    assert world.names("/documents/work/2025") == ["b.txt"]
    entry = world.namespace.resolve("/documents/a.txt")
    assert (entry.size, entry.kind, entry.path) == (5, "file", "/documents/a.txt")
    assert world.namespace.record(entry).export_path == "/home/u/docs/a.txt"
    derived = world.namespace.resolve("/documents/work")
    assert derived.derived
    assert derived.inode >= DERIVED_INODES


def test_a_source_prefix_above_the_source_keeps_the_way_to_it(world: Any) -> None:
    world.file("/home/u/docs/a.txt")
    world.directory("/recent", world.mount("/home/u/docs", source_prefix="/home"))
    assert world.names("/recent") == ["u/"]
    assert world.names("/recent/u") == ["docs/"]
    assert world.names("/recent/u/docs") == ["a.txt"]


def test_a_source_prefix_below_the_source_shows_that_part_alone(world: Any) -> None:
    world.file("/home/u/a.txt")
    world.file("/home/u/docs/b.txt")
    world.directory("/d", world.mount("/home/u", source_prefix="/home/u/docs"))
    assert world.names("/d") == ["b.txt"]


def test_flatten_puts_every_match_directly_inside(world: Any) -> None:
    world.file("/p/1/a.jpg")
    world.file("/p/2/deep/b.jpg")
    world.file("/p/c.txt")
    world.directory("/pictures", world.mount("/p", strategy="flatten", steps=[{"op": "glob", "pattern": "*.jpg"}]))
    assert world.names("/pictures") == ["a.jpg", "b.jpg"]


def test_a_derived_directory_needs_a_passing_file(world: Any) -> None:
    world.file("/s/full/deep/a.pdf")
    world.file("/s/void/deep/a.txt")
    world.directory("/d", world.mount("/s", steps=[{"op": "glob", "pattern": "*.pdf"}]))
    assert world.names("/d") == ["full/"]
    with pytest.raises(NotFound):
        world.namespace.list("/d/void")


def test_steps_that_a_directory_enforces_narrow_every_mount_below(world: Any) -> None:
    world.file("/s/a.pdf", size=10)
    world.file("/s/b.pdf", size=1000)
    world.file("/s/c.txt", size=10)
    small = [{"op": "size", "max_bytes": 100}]
    world.directory("/top", steps=small, enforce_steps_on_children=True)
    world.directory("/top/sub", world.mount("/s", steps=[{"op": "glob", "pattern": "*.pdf", "on_match": "include"}]))
    assert world.names("/top/sub") == ["a.pdf", "c.txt"]
    world.directory("/top", steps=small, enforce_steps_on_children=False)
    assert world.names("/top/sub") == ["a.pdf", "b.pdf", "c.txt"]


def test_a_virtual_directory_merges_with_the_derived_one_of_its_name(world: Any) -> None:
    world.file("/s/work/a.txt")
    world.file("/t/b.txt")
    world.directory("/d", world.mount("/s"))
    own = world.directory("/d/work", world.mount("/t"))
    assert world.names("/d") == ["work/"]
    assert world.names("/d/work") == ["a.txt", "b.txt"]
    assert world.namespace.list("/d/work").inode == own["inode"]


def test_a_file_in_two_directories_has_one_inode(world: Any) -> None:
    file = world.file("/s/a.txt")
    world.directory("/x", world.mount("/s"))
    world.directory("/y", world.mount("/", node="*", strategy="flatten"))
    inodes = {world.namespace.resolve(path).inode for path in ("/x/a.txt", "/y/a.txt")}
    assert inodes == {file["inode"]}
    file_id = f"node-a.{file['_id'].rpartition('::')[2]}"
    assert world.namespace.paths_of(file_id) == ["/x/a.txt", "/y/a.txt"]


def test_any_node_and_last_write_wins(world: Any) -> None:
    world.file("/s/a.txt", "node-a", size=1, age=2)
    world.file("/s/a.txt", "node-b", size=2, age=1)
    world.directory("/d", world.mount("/s", node="*"))
    assert world.names("/d") == ["a.txt"]
    assert world.namespace.resolve("/d/a.txt").size == 2


def test_the_loser_gets_its_node_as_a_suffix(world: Any) -> None:
    world.file("/s/a.txt", "node-a", age=2)
    world.file("/s/a.txt", "node-b", age=1)
    world.file("/s/a.txt", "node-c", age=3)
    world.directory("/d", world.mount("/s", node="*", conflict_policy="suffix_node_id"))
    assert world.names("/d") == ["a (node-a).txt", "a (node-c).txt", "a.txt"]


def test_a_directory_wins_over_a_file_of_its_name(world: Any) -> None:
    world.file("/s/x")
    world.directory("/d", world.mount("/s", conflict_policy="suffix_node_id"))
    world.directory("/d/x")
    assert world.names("/d") == ["x/", "x (node-a)"]


def test_labels_and_annotations_decide(world: Any) -> None:
    world.file("/s/a.txt")
    world.file("/s/b.txt")
    world.file("/s/in/c.txt")
    world.directory("/l", world.mount("/s", steps=[{"op": "label", "labels": ["good"]}]))
    world.directory(
        "/n", world.mount("/s", steps=[{"op": "annotation", "plugin_name": "p", "key": "k.v", "value": "yes"}])
    )
    assert world.names("/l") == []
    assert world.names("/n") == []
    world.label("/s/a.txt", "good", "other")
    world.annotate("/s/b.txt", "p", {"k": {"v": "yes"}})
    assert world.names("/l") == ["a.txt"]
    assert world.names("/n") == ["b.txt"]
    rule = world.rule("/s/in/", "good")
    assert world.names("/l") == ["a.txt", "in/"]
    world.remove(rule)
    world.label("/s/a.txt")
    world.annotate("/s/b.txt", "p", {"k": {"v": "no"}})
    assert world.names("/l") == []
    assert world.names("/n") == []


def test_a_file_leaves_an_age_step_by_itself(world: Any) -> None:
    world.file("/s/in/old.txt", age=29.5)
    world.file("/s/new.txt", age=1)
    world.directory("/recent", world.mount("/s", steps=[{"op": "age", "max_days": 30}]))
    assert world.names("/recent") == ["in/", "new.txt"]
    expiry = world.namespace.next_expiry()
    assert expiry == world.now + DAY // 2 + 1
    world.now = expiry - 1
    assert not world.namespace.refresh()
    world.now = expiry
    changes = world.namespace.refresh()
    assert changes.directories == {"/recent", "/recent/in"}
    assert world.names("/recent") == ["new.txt"]
    with pytest.raises(NotFound):
        world.namespace.list("/recent/in")


@pytest.mark.parametrize(
    ("kept", "instead", "told"),
    [
        (("export_path",), {}, True),
        ((), {}, False),
        ((), {"export_path": "/s/a.txt"}, False),
        ((), {"export_path": 7}, False),
    ],
)
def test_a_removed_label_or_annotation_concerns_the_file_it_tells_of_alone(
    world: Any, kept: tuple[str, ...], instead: dict[str, Any], told: bool
) -> None:
    for name in ("a", "b"):
        world.file(f"/s/{name}.txt")
        label = world.label(f"/s/{name}.txt", "good")
        note = world.annotate(f"/s/{name}.txt", "ocr", {"kind": "bill"})
    world.directory("/l", world.mount("/s", steps=[{"op": "label", "labels": ["good"]}]))
    world.directory(
        "/n", world.mount("/s", steps=[{"op": "annotation", "plugin_name": "ocr", "key": "kind", "value": "bill"}])
    )
    for path, document in (("/l", label), ("/n", note)):
        assert world.names(path) == ["a.txt", "b.txt"]
        world.remove(document, "plugin_name", *kept, **instead)
        changes = world.namespace.refresh()
        assert (changes.subtrees, path in changes.directories) == ((frozenset(), True) if told else ({path}, False))
        assert world.names(path) == ["a.txt"]


def test_deleted_files_disappear_and_come_back_with_their_inode(world: Any) -> None:
    file = world.file("/s/a.txt")
    world.directory("/d", world.mount("/s"))
    assert world.names("/d") == ["a.txt"]
    gone = world.delete_file(file)
    changes = world.namespace.refresh()
    assert changes.inodes == {file["inode"]}
    assert changes.touches("/d")
    assert world.names("/d") == []
    world.put({**gone, "status": "active"})
    world.namespace.refresh()
    assert world.namespace.resolve("/d/a.txt").inode == file["inode"]


def test_an_unrelated_change_leaves_a_cached_listing_alone(world: Any) -> None:
    world.file("/s/a.txt")
    world.file("/t/x/b.txt")
    world.directory("/d", world.mount("/s"))
    world.directory("/e", world.mount("/t"))
    world.namespace.refresh()
    listed = world.namespace.list("/d")
    world.file("/t/x/c.txt")
    changes = world.namespace.refresh()
    assert changes.directories == {"/e/x"}
    assert not changes.subtrees
    assert world.namespace.list("/d") is listed


def test_a_cached_listing_lives_five_seconds(world: Any) -> None:
    listed = world.namespace.list("/")
    world.now += 4_999_999
    assert world.namespace.list("/") is listed
    world.now += 1
    assert world.namespace.list("/") is not listed


def test_unknown_ops_are_skipped_and_warned_of(world: Any) -> None:
    world.file("/s/a.txt")
    world.directory("/d", world.mount("/s", steps=[{"op": "phase_of_moon"}]))
    assert world.names("/d") == ["a.txt"]
    (warning,) = world.namespace.list("/d").warnings
    assert "phase_of_moon" in warning


def test_a_plugins_op_decides(world: Any) -> None:
    from mosaicfs_core.hooks import StepOp

    def compile_shout(fields: Any) -> Any:
        return lambda facts: facts.name.isupper()

    world.file("/s/LOUD")
    world.file("/s/quiet")
    world.directory("/d", world.mount("/s", steps=[{"op": "shouted"}]))
    op = StepOp(name="shouted", description="", compile=compile_shout)
    assert [entry.name for entry in world.fresh({"shouted": op}).list("/d").entries] == ["LOUD"]


@pytest.mark.parametrize("path", ["", "relative", "/a/../b", "/a/./b", "/nul\0"])
def test_paths_that_are_none_are_refused(world: Any, path: str) -> None:
    with pytest.raises(UserError):
        world.namespace.list(path)


def test_a_file_is_no_directory_and_nothing_is_not_found(world: Any) -> None:
    world.file("/s/a.txt")
    world.directory("/d", world.mount("/s"))
    for path in ("/d/a.txt", "/nowhere", "/d/a.txt/b"):
        with pytest.raises(NotFound):
            world.namespace.list(path)
    with pytest.raises(NotFound):
        world.namespace.resolve("/d/b.txt")


def test_more_changes_than_are_worth_following(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaicfs_vfs.namespace.namespace.TOO_MANY", 3)
    world.directory("/d", world.mount("/s", steps=[{"op": "glob", "pattern": "*.txt"}]))
    assert world.names("/d") == []
    for number in range(5):
        world.file(f"/s/{number}.txt")
    assert world.namespace.refresh().touches("/anything")
    assert len(world.names("/d")) == 5


def test_odd_names_come_through(world: Any) -> None:
    odd = ["a\nb", 'quo"te', "emoji \U0001f600", "bad \U0010fffe byte", "n" * 255]
    for name in odd:
        world.file(f"/s/{name}")
    world.directory("/d", world.mount("/s"))
    assert sorted(world.names("/d")) == sorted(odd)


def test_a_refresh_that_fails_is_made_up_for_by_the_next(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.directory("/d", world.mount("/s", steps=[{"op": "label", "labels": ["keep"]}]))
    kept, gone = world.file("/s/kept"), world.file("/s/gone")
    for path in ("/s/kept", "/s/gone"):
        world.label(path, "keep")
    assert world.names("/d") == ["gone", "kept"]
    world.delete_file(gone)
    with monkeypatch.context() as faults:
        faults.setattr(Follower, "_place", _cannot_be_read)
        with pytest.raises(OSError, match="I/O error"):
            world.namespace.refresh()
    assert [entry.name for entry in world.namespace.list("/d").entries] == ["kept"]
    assert world.namespace.refresh().subtrees == {"/"}
    assert not world.namespace.refresh()
    world.delete_file(kept)
    assert world.namespace.refresh().directories == {"/d"}
    assert world.names("/d") == []


def _cannot_be_read(*_: object) -> None:
    raise OSError("disk I/O error")
