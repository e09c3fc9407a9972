"""Protects each source's files from the others: nobody deletes, renames, changes or takes over what is not its own; and
what a source says of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.hooks import Complete, Create, Delete, Directory, Entry, FileOperation, Rename

DISK = "the disk"


def new(path: str, size: int = 1, *, identity: str | None = None, number: int = 0) -> Create:
    return Create(export_path=path, size=size, mtime=size, identity=identity, device=5 if number else 0, number=number)


@pytest.mark.parametrize("other", [DISK, "notes"])
@pytest.mark.parametrize(
    "operation",
    [
        Complete(prefix="/"),
        Complete(prefix="/mail"),
        Delete(export_path="/mail"),
        Delete(export_path="/mail/a"),
        Directory(export_path="/mail", files=(), directories=()),
        Directory(export_path="/", files=(), directories=()),
        Rename(export_path="/gone", previous_export_path="/mail"),
        Rename(export_path="/gone", previous_export_path="/mail/a"),
        Create(export_path="/mail/a", size=7, mtime=7),
        Create(export_path="/elsewhere", size=1, mtime=1, device=5, number=7),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
async def test_a_source_leaves_alone_what_another_provides(sources: Any, other: str, operation: FileOperation) -> None:
    await sources.say("mail", new("/mail/a", number=7), new("/mail/sub/b"))
    before = sources.files()
    await sources.say(other, operation)
    assert {path: sources.files().get(path) for path in before} == before
    assert sources.document("/mail/a").get("provider") == "mail"


async def test_a_provider_leaves_the_disk_alone(sources: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    (tmp_path / "file").write_text("x")
    await sources.say(DISK, new(path))
    before = sources.files()
    await sources.say("mail", Complete(prefix="/"))
    assert sources.files() == before


@pytest.mark.parametrize(
    "operation",
    [
        Complete(prefix="/"),
        Complete(prefix="/home"),
        Delete(export_path="/"),
        Delete(export_path="/home/a"),
        Directory(export_path="/home", files=(), directories=()),
        Directory(export_path="/", files=(), directories=("srv",)),
        Rename(export_path="/srv/taken", previous_export_path="/home"),
        Create(export_path="/home/a", size=7, mtime=7),
        Create(export_path="/srv/taken", size=1, mtime=1, device=5, number=7),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
async def test_a_source_on_disk_leaves_alone_what_another_watches(sources: Any, operation: FileOperation) -> None:
    sources.watch("localfs", "/home")
    sources.watch("stranger", "/srv")
    await sources.say("localfs", new("/home/a", number=7), new("/home/sub/b"))
    before, document = sources.files(), sources.document("/home/a")
    await sources.say("stranger", operation)
    assert {path: sources.files().get(path) for path in before} == before
    assert sources.document("/home/a") == document


async def test_a_folder_that_nobody_watches_any_more_leaves_the_index_and_one_that_another_took_over_does_not(
    sources: Any,
) -> None:
    sources.watch("localfs", "/home", "/srv", "/old")
    await sources.say("localfs", new("/home/a"), new("/srv/b"), new("/old/c"))
    before = sources.files()
    sources.watch("localfs", "/home")
    sources.watch("stranger", "/srv")
    await sources.say("localfs", Delete(export_path="/srv"), Delete(export_path="/old"))
    assert sources.files() == {path: before[path] for path in ("/home/a", "/srv/b")}
    await sources.say("stranger", new("/srv/b", 2), Complete(prefix="/srv"))
    assert sources.files() == {path: before[path] for path in ("/home/a", "/srv/b")}
    assert sources.document("/srv/b")["size"] == 2


async def test_a_path_that_was_another_sources_is_free_once_its_file_is_gone(sources: Any) -> None:
    await sources.say("mail", new("/mail/a"))
    first = sources.files()["/mail/a"]
    await sources.say("mail", Delete(export_path="/mail/a"))
    await sources.say("notes", Directory(export_path="/mail", files=(Entry("a", 1, 1),), directories=()))
    assert sources.document("/mail/a").get("provider") == "notes"
    second = sources.files()["/mail/a"]
    assert first != second
    await sources.say("notes", Directory(export_path="/mail", files=(Entry("a", 2, 2),), directories=()))
    assert sources.files() == {"/mail/a": second}


async def test_one_message_in_two_mailboxes_is_a_file_of_each(sources: Any) -> None:
    for instance in ("home", "work"):
        await sources.say(instance, new(f"/{instance}/a", identity="<1@example.org>"), Complete(prefix=f"/{instance}"))
    before = sources.files()
    assert set(before) == {"/home/a", "/work/a"}
    for instance in ("home", "work", "home"):
        await sources.say(instance, new(f"/{instance}/a", identity="<1@example.org>"), Complete(prefix=f"/{instance}"))
        assert sources.files() == before


async def test_a_message_that_moves_keeps_its_document_and_stays_in_its_mailbox(sources: Any) -> None:
    await sources.say("home", new("/home/inbox/a", identity="<1>"))
    await sources.say("work", new("/work/b", identity="<1>"))
    first = sources.files()["/home/inbox/a"]
    whole = Complete(prefix="/home")
    await sources.say("home", new("/home/done/a", identity="<1>"), whole)
    assert sources.files()["/home/done/a"] == first
    await sources.say("home", Delete(export_path="/home/done/a"), new("/home/inbox/a", identity="<1>"))
    assert sources.files()["/home/inbox/a"] == first
    await sources.say("home", new("/home/later/a", identity="<1>"), Delete(export_path="/home/inbox/a"))
    assert sources.files()["/home/later/a"] == first
    await sources.say("home", Delete(export_path="/home/later/a"))
    await sources.say("home", new("/home/back", identity="<1>"))
    assert sources.files()["/home/back"] == first
    assert sources.document("/work/b").get("provider") == "work"


@pytest.mark.parametrize("order", ["before", "after", "apart"])
async def test_a_copy_takes_nothing_from_the_file_that_is_named_as_well(sources: Any, order: str) -> None:
    first, copy = new("/mail/a", identity="<1>"), new("/mail/copies/a", identity="<1>")
    await sources.say("mail", first)
    number = sources.files()["/mail/a"]
    sessions: dict[str, list[FileOperation]] = {
        "before": [copy, first],
        "after": [first, copy],
        "apart": [first, Complete(prefix="/mail/b"), copy],
    }
    for _ in range(3):
        await sources.say("mail", *sessions[order], Complete(prefix="/mail"))
        assert set(sources.files()) == {"/mail/a", "/mail/copies/a"}
        assert sources.files()["/mail/a"] == number


@pytest.mark.parametrize("large", [True, False])
async def test_files_in_listed_directories_move_and_their_hard_links_do_not(
    sources: Any, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("mosaicfs_core.agent.session.LARGE_DIRECTORY", 1)

    def listing(**directories: list[tuple[str, int]]) -> list[FileOperation]:
        top = Directory(export_path="/mail", files=(), directories=tuple(directories))
        return [
            top,
            *(
                Directory(
                    export_path=f"/mail/{directory}",
                    files=[Entry(name, 1, 1, 5, number) for name, number in files],
                    directories=(),
                )
                for directory, files in directories.items()
            ),
        ]

    await sources.say("mail", *listing(a=[("x", 1), ("y", 2)], b=[]))
    before = sources.files()
    await sources.say("mail", *listing(a=[("y", 2)], b=[("x", 1)]))
    assert sources.files() == {"/mail/a/y": before["/mail/a/y"], "/mail/b/x": before["/mail/a/x"]}
    for _ in range(2):
        await sources.say("mail", *listing(a=[("x", 1), ("y", 2)], b=[("x", 1), ("link", 2)]))
        after = sources.files()
        assert set(after) == {"/mail/a/x", "/mail/a/y", "/mail/b/x", "/mail/b/link"}
        assert after["/mail/a/y"] == before["/mail/a/y"]


async def test_the_type_that_a_plugin_gives_a_file_is_taken_over_with_each_change(sources: Any) -> None:
    def typed(path: str, size: int, mime_type: str | None) -> Create:
        return Create(export_path=path, size=size, mtime=size, mime_type=mime_type, identity="<1>")

    await sources.say("mail", typed("/mail/a.txt", 1, None))
    assert sources.document("/mail/a.txt")["mime_type"] == "text/plain"
    await sources.say("mail", typed("/mail/a.txt", 2, "text/x-diff"))
    assert sources.document("/mail/a.txt")["mime_type"] == "text/x-diff"
    await sources.say("mail", typed("/mail/a.txt", 3, None))
    assert sources.document("/mail/a.txt")["mime_type"] == "text/x-diff"
    await sources.say("mail", typed("/mail/b.pdf", 3, "text/x-patch"), Delete(export_path="/mail/a.txt"))
    assert sources.document("/mail/b.pdf")["mime_type"] == "text/x-patch"
