"""Protects the crawl: the replica comes to hold exactly what is on disk, ids survive moves, and nothing is deleted that
only cannot be seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import disk
from mosaicfs_core.documents import paths
from mosaicfs_core.errors import NotFound

Write = Callable[[Path, Mapping[str, str]], None]


async def test_first_crawl_indexes_everything(node: Any, write: Write) -> None:
    write(node.tree, {"a.txt": "a", "sub/b.pdf": "bb", "sub/deep/c": ""})
    await node.start()
    assert node.agrees()
    row = node.rows()["sub/b.pdf"]
    assert row.mime_type == "application/pdf"
    document = await node.core.store.get(row.document_id)
    assert document["source"]["export_parent"] == f"{node.tree}/sub"
    assert "provider" not in document


async def test_unchanged_files_are_not_written_again(node: Any, write: Write) -> None:
    write(node.tree, {f"d{number}/f": "x" for number in range(20)})
    await node.start()
    report = await node.crawl()
    assert (report.seen, report.written) == (20, 0)


async def test_changes_deletions_and_come_backs_keep_ids(node: Any, write: Write) -> None:
    write(node.tree, {"a": "1", "b": "1"})
    await node.start()
    before = node.rows()
    write(node.tree, {"a": "changed"})
    (node.tree / "b").unlink()
    await node.crawl()
    assert node.agrees()
    assert node.rows()["a"].uuid == before["a"].uuid
    gone = await node.core.store.get(before["b"].document_id)
    assert gone["status"] == "deleted"
    assert "deleted_at" in gone
    write(node.tree, {"b": "back again"})
    await node.crawl()
    assert node.agrees()
    assert (node.rows()["b"].uuid, node.rows()["b"].inode) == (before["b"].uuid, before["b"].inode)


@pytest.mark.parametrize(
    ("source", "target"), [("z/f", "a/f"), ("a/f", "z/f"), ("z/f", "z/g.txt"), ("a/f", "new/deep/f")]
)
async def test_a_moved_file_keeps_its_document(node: Any, write: Write, source: str, target: str) -> None:
    write(node.tree, {source: "content", "a/other": "", "z/other": ""})
    await node.start()
    before = node.rows()[source]
    (node.tree / target).parent.mkdir(parents=True, exist_ok=True)
    os.rename(node.tree / source, node.tree / target)
    report = await node.crawl()
    after = node.rows()[target]
    assert (after.uuid, after.inode) == (before.uuid, before.inode)
    assert report.moved == 1
    document = await node.core.store.get(after.document_id)
    assert document["moved_from"] == before.export_path
    assert node.agrees()


@pytest.mark.parametrize(("source", "target"), [("z/f", "a/g"), ("a/f", "z/g")])
async def test_a_file_renamed_onto_another_ends_where_that_one_goes_on(
    node: Any, write: Write, source: str, target: str
) -> None:
    """So that what stands under the old path follows it there."""
    write(node.tree, {source: "renamed", target: "there before", "a/other": "", "z/other": ""})
    await node.start()
    before = node.rows()
    os.rename(node.tree / source, node.tree / target)
    await node.crawl()
    assert node.agrees()
    assert node.rows()[target].uuid == before[target].uuid
    ended = await node.core.store.get(before[source].document_id)
    assert (ended["status"], ended["source"]["export_path"]) == ("deleted", before[target].export_path)
    assert (ended["moved_from"], ended["renamed_onto"]) == (before[source].export_path, before[target].document_id)
    assert (await node.crawl()).written == 0


async def test_a_file_renamed_onto_one_that_looks_the_same_ends_there(node: Any, write: Write) -> None:
    """Made in one moment, as what is unpacked is."""
    write(node.tree, {"a": "1", "b": "2", "c": "3"})
    for name in "abc":
        os.utime(node.tree / name, (1, 1))
    os.link(node.tree / "c", node.tree / "d")
    await node.start()
    before = node.rows()
    os.rename(node.tree / "a", node.tree / "b")
    (node.tree / "c").unlink()
    await node.crawl()
    ended = await node.core.store.get(before["a"].document_id)
    assert (ended["moved_from"], ended["renamed_onto"]) == (before["a"].export_path, before["b"].document_id)
    assert node.rows()["b"].uuid == before["b"].uuid
    assert "renamed_onto" not in await node.core.store.get(before["c"].document_id)
    assert (await node.crawl()).written == 0


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a/f", "z/g"), ("z/g", "a/f")])
async def test_files_that_exchanged_their_places_keep_their_documents(
    node: Any, write: Write, one: str, other: str
) -> None:
    write(node.tree, {one: "one", other: "the other"})
    await node.start()
    before = node.rows()
    os.rename(node.tree / one, node.tree / "between")
    os.rename(node.tree / other, node.tree / one)
    os.rename(node.tree / "between", node.tree / other)
    assert (await node.crawl()).moved == 2
    after = node.rows()
    assert node.agrees()
    assert (after[one].uuid, after[other].uuid) == (before[other].uuid, before[one].uuid)
    document = await node.core.store.get(before[one].document_id)
    assert document["moved_from"] == before[one].export_path
    assert (await node.crawl()).written == 0


async def test_numbers_given_out_crosswise_are_no_exchange(node: Any, write: Write) -> None:
    write(node.tree, {"a": "one", "b": "the other"})
    await node.start()
    before = node.rows()
    os.rename(node.tree / "a", node.tree / "between")
    os.rename(node.tree / "b", node.tree / "a")
    os.rename(node.tree / "between", node.tree / "b")
    write(node.tree, {"a": "a new version", "b": "another one"})
    await node.crawl()
    assert node.agrees()
    assert {name: row.uuid for name, row in node.rows().items()} == {name: row.uuid for name, row in before.items()}


@pytest.mark.parametrize(("born", "renamed"), [(0, True), (2**60, False), (None, False)])
async def test_a_name_and_a_number_are_no_file_renamed_onto_one_that_was_known(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch, born: int | None, renamed: bool
) -> None:
    """Some filesystems give a number out again at once: of what is deleted to the new version of what is saved then.
    Which of both it is shows when the file there was made."""
    write(node.tree, {"x/README": "gone", "y/README": "there before"})
    await node.start()
    before = node.rows()
    os.rename(node.tree / "x/README", node.tree / "y/README")
    write(node.tree, {"y/README": "another size"})
    monkeypatch.setattr(disk, "birth_time", lambda _: born)
    await node.crawl()
    assert node.rows()["y/README"].uuid == before["y/README"].uuid
    ended = await node.core.store.get(before["x/README"].document_id)
    assert (ended["status"], "renamed_onto" in ended) == ("deleted", renamed)


async def test_a_file_moves_onto_a_name_that_was_another_ones_once(node: Any, write: Write) -> None:
    write(node.tree, {"a": "renamed", "b": "there before"})
    await node.start()
    before = node.rows()
    (node.tree / "b").unlink()
    await node.crawl()
    os.rename(node.tree / "a", node.tree / "b")
    await node.crawl()
    assert node.rows()["b"].uuid == before["a"].uuid
    moved = await node.core.store.get(before["a"].document_id)
    assert moved["moved_from"] == before["a"].export_path


async def test_what_goes_on_moves_later_and_not_what_ended_there(node: Any, write: Write) -> None:
    """Both had the number of the file that is there now."""
    write(node.tree, {"a": "renamed", "b": "there before"})
    await node.start()
    before = node.rows()
    os.rename(node.tree / "a", node.tree / "b")
    await node.crawl()
    os.rename(node.tree / "b", node.tree / "c")
    await node.crawl()
    assert node.rows()["c"].uuid == before["b"].uuid
    assert node.agrees()


async def test_a_name_less_of_one_file_is_no_rename(node: Any, write: Write) -> None:
    write(node.tree, {"a": "both"})
    os.link(node.tree / "a", node.tree / "b")
    await node.start()
    before = node.rows()
    (node.tree / "a").unlink()
    (node.tree / "b").write_text("edited")
    await node.crawl()
    gone = await node.core.store.get(before["a"].document_id)
    assert (gone["status"], gone["source"]["export_path"]) == ("deleted", before["a"].export_path)
    assert node.rows()["b"].uuid == before["b"].uuid


async def test_a_moved_directory_keeps_all_documents(node: Any, write: Write) -> None:
    write(node.tree, {f"old/{number // 10}/{number}": str(number) for number in range(60)})
    await node.start()
    before = {path.removeprefix("old/"): row.uuid for path, row in node.rows().items()}
    os.rename(node.tree / "old", node.tree / "new")
    await node.crawl()
    assert {path.removeprefix("new/"): row.uuid for path, row in node.rows().items()} == before


async def test_a_copy_onto_another_disk_with_the_source_gone_keeps_its_document(node: Any, write: Write) -> None:
    write(node.tree, {"a/f.txt": "content"})
    await node.start()
    before = node.rows()["a/f.txt"]
    facts = (node.tree / "a/f.txt").stat()
    write(node.tree, {"b/f.txt": "content"})  # another inode number, as on another disk
    os.utime(node.tree / "b/f.txt", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    (node.tree / "a/f.txt").unlink()
    await node.crawl()
    assert node.rows()["b/f.txt"].uuid == before.uuid


async def test_a_reused_inode_number_is_no_move(node: Any, write: Write) -> None:
    write(node.tree, {"a.txt": "one"})
    await node.start()
    before = node.rows()["a.txt"]
    number = (node.tree / "a.txt").stat().st_ino
    (node.tree / "a.txt").unlink()
    for attempt in range(50):
        write(node.tree, {f"b{attempt}.txt": "another"})
        if (node.tree / f"b{attempt}.txt").stat().st_ino == number:
            break
    else:
        pytest.skip("this filesystem does not give inode numbers out again")
    await node.crawl()
    assert before.uuid not in {row.uuid for row in node.rows().values()}


async def test_moved_and_edited_is_still_the_same_file(node: Any, write: Write) -> None:
    write(node.tree, {"draft.txt": "one"})
    await node.start()
    before = node.rows()["draft.txt"]
    os.rename(node.tree / "draft.txt", node.tree / "final.txt")
    with (node.tree / "final.txt").open("a") as file:
        file.write("more")
    await node.crawl()
    assert node.rows()["final.txt"].uuid == before.uuid


async def test_a_hard_link_is_a_file_of_its_own(node: Any, write: Write) -> None:
    write(node.tree, {"a": "content"})
    await node.start()
    before = node.rows()["a"]
    os.link(node.tree / "a", node.tree / "b")
    await node.crawl()
    assert node.rows()["a"].uuid == before.uuid
    assert node.rows()["b"].uuid != before.uuid


async def test_a_new_file_at_the_place_of_a_moved_one_is_another(node: Any, write: Write) -> None:
    write(node.tree, {"a": "content"})
    await node.start()
    before = node.rows()["a"]
    os.rename(node.tree / "a", node.tree / "b")
    await node.crawl()
    write(node.tree, {"a": "newcomer"})
    await node.crawl()
    rows = node.rows()
    assert rows["b"].uuid == before.uuid
    assert rows["a"].uuid != before.uuid
    assert rows["a"].inode != rows["b"].inode


async def test_odd_names(node: Any) -> None:
    names = [b"n" * 255, b"new\nline", b"quo\"te'`$", "😀 ümläut".encode(), b"bad\xff\xfename", b" ", b"-rf", b"%s\\x"]
    root = os.fsencode(node.tree)
    for name in names:
        os.mkdir(os.path.join(root, name[:200] + b".d"))
        for directory in (root, os.path.join(root, name[:200] + b".d")):
            Path(os.fsdecode(os.path.join(directory, name))).write_bytes(name)
    await node.start()
    assert len(node.rows()) == 2 * len(names)
    assert node.agrees()
    for row in node.rows().values():
        native = paths.unescape(row.export_path)
        assert os.path.basename(native) == Path(os.fsdecode(native)).read_bytes()
    assert (await node.crawl()).written == 0


async def test_links_and_special_files_are_counted_and_never_followed(node: Any, write: Write, tmp_path: Path) -> None:
    write(node.tree, {"real/f": "x"})
    write(tmp_path, {"outside/secret": "s"})
    (node.tree / "loop").symlink_to(node.tree)
    (node.tree / "out").symlink_to(tmp_path / "outside")
    (node.tree / "real/file-link").symlink_to("f")
    os.mkfifo(node.tree / "pipe")
    await node.start()
    assert set(node.rows()) == {"real/f"}
    counts = node.agent.status()["subsystems"]["crawler"]["counts"]
    assert counts == {"symlink": 3, "special": 1}


async def test_ignored_files_leave_the_index_and_are_reported(node: Any, write: Write) -> None:
    write(node.tree, {"keep.txt": "", "x.tmp": "", "cache/big": "", "sub/x.tmp": "", "sub/own/y.log": ""})
    await node.start()
    assert len(node.rows()) == 5
    write(node.tree, {".mosaicfsignore": "*.tmp\ncache/\n# comment\n", "sub/.mosaicfsignore": "*.log\n!x.tmp\n"})
    await node.crawl()
    assert set(node.rows()) == {"keep.txt", ".mosaicfsignore", "sub/.mosaicfsignore", "sub/x.tmp"}
    ignored = {problem.export_path: problem.message for problem in node.agent.problems() if problem.kind == "ignored"}
    assert set(ignored) == {f"{node.tree}/x.tmp", f"{node.tree}/cache", f"{node.tree}/sub/own/y.log"}
    assert ignored[f"{node.tree}/cache"] == f"the pattern cache/ in {node.tree}/.mosaicfsignore"


async def test_the_mount_and_the_home_are_never_entered(node: Any, write: Write) -> None:
    write(node.tree, {"f": "", "mount/g": "", "mount/below/h": ""})
    node.core.mounts |= {node.tree / "mount"}
    await node.configure(paths=[os.fspath(node.tree.parent)])
    await node.start()
    found = {path.rpartition("/")[2] for path in node.rows()}
    assert found == {"f"}


async def test_a_crawl_may_be_limited_to_prefixes(node: Any, write: Write) -> None:
    write(node.tree, {"a/f": "1", "b/f": "1"})
    await node.start()
    write(node.tree, {"a/g": "1", "b/g": "1", "a/new/h": ""})
    await node.crawl(prefixes=[f"{node.tree}/a"])
    assert set(node.rows()) == {"a/f", "a/g", "a/new/h", "b/f"}
    await node.crawl(prefixes=[f"{node.tree}/b/g"])
    assert "b/g" in node.rows()
    (node.tree / "b/g").unlink()
    await node.crawl(prefixes=[f"{node.tree}/b/g"])
    assert "b/g" not in node.rows()


async def test_what_was_said_of_a_folder_goes_with_it(node: Any, write: Write) -> None:
    write(node.tree, {"f": ""})
    missing = f"{node.tree}-missing"
    await node.configure(paths=[os.fspath(node.tree), missing])
    await node.start()
    assert any(missing in error["message"] for error in node.agent.status()["recent_errors"])
    await node.configure()
    await node.settled(lambda: not any(missing in error["message"] for error in node.agent.status()["recent_errors"]))


async def test_a_root_that_is_missing_or_a_file_deletes_nothing(node: Any, write: Write) -> None:
    write(node.tree, {"f": "1"})
    await node.start()
    os.rename(node.tree, node.tree.parent / "away")
    await node.crawl()
    assert set(node.rows()) == {"f"}
    crawler = node.agent.status()["subsystems"]["crawler"]
    assert crawler["status"] == "degraded"
    assert "does not exist" in crawler["inaccessible"][0]
    node.tree.write_text("a file now")
    await node.crawl()
    assert "not a folder" in node.agent.status()["subsystems"]["crawler"]["inaccessible"][0]
    node.tree.unlink()
    os.rename(node.tree.parent / "away", node.tree)
    await node.crawl()
    assert node.agrees()
    assert node.agent.status()["subsystems"]["crawler"]["inaccessible"] == []


async def test_an_empty_root_is_believed_at_the_second_crawl(node: Any, write: Write) -> None:
    write(node.tree, {"f": "1"})
    await node.start()
    (node.tree / "f").unlink()
    await node.crawl()
    assert set(node.rows()) == {"f"}
    await node.crawl()
    assert node.rows() == {}


async def test_a_root_taken_out_of_the_settings_leaves_the_index(node: Any, write: Write, tmp_path: Path) -> None:
    write(node.tree, {"keep/f": "1", "drop": "1", "other/g": "1"})
    await node.start()
    before = node.rows()["keep/f"].uuid
    await node.configure(paths=[os.fspath(node.tree / "keep")])
    await node.settled(lambda: set(node.rows()) == {"keep/f"})
    assert node.rows()["keep/f"].uuid == before
    await node.configure(paths=[])
    await node.settled(lambda: node.rows() == {})


async def test_a_large_directory_is_indexed_in_parts(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaicfs_core.agent.session.LARGE_DIRECTORY", 50)
    for number in range(120):
        (node.tree / str(number)).write_text("x")
    (node.tree / "sub").mkdir()
    (node.tree / "sub/f").write_text("x")
    await node.start()
    assert node.agrees()
    for number in range(0, 120, 3):
        (node.tree / str(number)).unlink()
    os.rename(node.tree / "sub", node.tree / "moved")
    await node.crawl()
    assert node.agrees()


async def test_an_unknown_instance_is_not_found(node: Any) -> None:
    await node.start()
    with pytest.raises(NotFound, match="no instance nothing"):
        await node.agent.crawl("nothing")


async def test_the_status_document_is_valid_and_written(node: Any, write: Write) -> None:
    write(node.tree, {"f": "1"})
    await node.start()
    status_id = f"status::{node.core.node_id}"
    await node.settled(lambda: node.core.store.reader.get(status_id) is not None)
    document = await node.core.store.get(status_id)
    assert document["subsystems"]["crawler"]["status"] == "healthy"
    assert document["available_plugins"] == [{"name": "localfs", "status": "ok", "error": None}]


async def test_the_status_has_parts_that_others_answer_for(node: Any) -> None:
    await node.start()
    node.agent.subsystems["vfs_mount"] = lambda: {"status": "degraded", "detail": "there is no FUSE here"}
    status = node.agent.status()
    assert status["subsystems"]["vfs_mount"] == {"status": "degraded", "detail": "there is no FUSE here"}
    assert status["overall"] == "degraded"


async def test_the_work_of_the_night_looks_again_and_compacts(node: Any, write: Write) -> None:
    write(node.tree, {"a": "1"})
    await node.start()
    store = node.core.store
    document = await store.get(node.rows()["a"].document_id)
    for size in range(4):  # as somebody else's edits would
        document["_rev"] = await store.put({**document, "size": 100 + size})
    await store.set_revs_limit(2)
    write(node.tree, {"b": "2"})
    await node.agent.tend()
    assert node.agrees()
    assert len((await store.get(document["_id"], revs=True))["_revisions"]["ids"]) == 2
