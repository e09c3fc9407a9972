"""Protects each source's files from the others: nobody deletes, renames, changes or takes over what is not its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mosaicfs_core.agent.indexer import Indexer, Session
from mosaicfs_core.agent.planner import Source
from mosaicfs_core.hooks import Complete, Create, Delete, Directory, Entry, FileOperation, Rename
from mosaicfs_core.testing.harness import Harness

DISK = "the disk"


class Sources:
    """Says things in the name of different instances, and what is indexed then."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._indexer = Indexer(harness.store)

    async def say(self, instance: str, *operations: FileOperation) -> None:
        """One whole session of an instance: the watcher of the disk, or one that provides a filesystem."""
        provider = None if instance == DISK else instance
        source = Source(
            node_id=self._harness.core.node_id, instance=instance, on_disk=provider is None, provider=provider
        )
        session = Session(self._indexer, source, lambda problem: None, matching=True)
        try:
            await session.feed(operations)
            await session.finish()
        finally:
            session.close()

    def files(self) -> dict[str, str]:
        """The uuids of what is shown, by path."""
        reader = self._harness.store.reader
        docs = [doc for batch in reader.scan_files() for doc in batch.docs]
        return {row.export_path: row.uuid for row in reader.file_rows(docs)}

    def provider_of(self, path: str) -> str | None:
        """The provider that the document at a path names."""
        reader = self._harness.store.reader
        row = reader.file_by_path(self._harness.core.node_id, path)
        assert row is not None
        document = reader.get(row.document_id)
        assert document is not None
        return document.get("provider")


@pytest.fixture
async def sources(tmp_path: Path) -> AsyncIterator[Sources]:
    """Nobody has said anything yet."""
    async with Harness.start(tmp_path / "home", plugins=[]) as harness:
        yield Sources(harness)


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
async def test_a_source_leaves_alone_what_another_provides(
    sources: Sources, other: str, operation: FileOperation
) -> None:
    await sources.say("mail", new("/mail/a", number=7), new("/mail/sub/b"))
    before = sources.files()
    await sources.say(other, operation)
    assert {path: sources.files().get(path) for path in before} == before
    assert sources.provider_of("/mail/a") == "mail"


async def test_a_provider_leaves_the_disk_alone(sources: Sources, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    (tmp_path / "file").write_text("x")
    await sources.say(DISK, new(path))
    before = sources.files()
    await sources.say("mail", Complete(prefix="/"))
    assert sources.files() == before


async def test_a_path_that_was_another_sources_is_free_once_its_file_is_gone(sources: Sources) -> None:
    await sources.say("mail", new("/mail/a"))
    first = sources.files()["/mail/a"]
    await sources.say("mail", Delete(export_path="/mail/a"))
    await sources.say("notes", Directory(export_path="/mail", files=(Entry("a", 1, 1),), directories=()))
    assert sources.provider_of("/mail/a") == "notes"
    second = sources.files()["/mail/a"]
    assert first != second
    await sources.say("notes", Directory(export_path="/mail", files=(Entry("a", 2, 2),), directories=()))
    assert sources.files() == {"/mail/a": second}
