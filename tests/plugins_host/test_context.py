"""Protects what a plugin may see and write: ownership, credentials, its directories, and the bytes of files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.content import services_of
from mosaicfs_core.documents import ids, times
from mosaicfs_core.errors import InvalidDocument, NotAllowed, Stale, UserError
from mosaicfs_core.hooks import DocumentQuery, FileRecord
from mosaicfs_core.plugins.context import InstanceContext
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.plugins.routes_context import RoutesContextImpl, routes_context
from mosaicfs_core.testing import Harness

NOW = times.format_time(1_700_000_000_000_000)


def annotation(node_id: str, plugin: str = "mine", **fields: Any) -> dict[str, Any]:
    return {
        "_id": ids.annotation_id(node_id, "/x", plugin),
        "type": "annotation",
        "node_id": node_id,
        "export_path": "/x",
        "plugin_name": plugin,
        "annotated_by": node_id,
        "data": {"words": 3},
        "status": "ok",
        "annotated_at": NOW,
        "updated_at": NOW,
        "source_mtime": NOW,
        "source_size": 1,
        **fields,
    }


def label_rule(node_id: str, prefix: str, *labels: str) -> dict[str, Any]:
    return {
        "_id": ids.label_rule_id(ids.new_uuid()),
        "type": "label_rule",
        "node_id": node_id,
        "path_prefix": prefix,
        "labels": list(labels),
        "name": "rule",
        "enabled": True,
        "created_at": NOW,
    }


@pytest.fixture
def context(mosaicfs_host: Harness) -> InstanceContext:
    return InstanceContext(mosaicfs_host.core, "mine")


@pytest.fixture
def control(mosaicfs_host: Harness) -> RoutesContextImpl:
    return RoutesContextImpl(mosaicfs_host.core, "labels", lambda: {"kind": "user", "name": "me"})


async def test_an_instance_writes_what_its_node_owns_and_reads_it_back(context: InstanceContext) -> None:
    document = annotation(context.node_id)
    (written,) = await context.write_documents([document])
    stored = await context.read_document(document["_id"])
    assert stored is not None
    assert (stored["_rev"], stored["data"]) == (written["rev"], {"words": 3})
    page = await context.find_documents(DocumentQuery(type="annotation", key=(context.node_id,)))
    assert (page.total, [found["_id"] for found in page.items]) == (1, [document["_id"]])


async def test_what_belongs_to_others_is_refused_and_nothing_of_the_batch_is_written(
    context: InstanceContext, mosaicfs_host: Harness
) -> None:
    good = annotation(context.node_id)
    for foreign in (annotation("node-other-aaaa"), annotation(context.node_id, "another"), label_rule("*", "/x/", "a")):
        with pytest.raises(NotAllowed):
            await context.write_documents([good, foreign])
    assert await context.read_document(good["_id"]) is None
    with pytest.raises(InvalidDocument):
        await context.write_documents([{"type": "annotation"}])


async def test_a_batch_with_a_stale_document_writes_nothing(context: InstanceContext) -> None:
    first = annotation(context.node_id)
    await context.write_documents([first])
    second = annotation(context.node_id, _id=ids.annotation_id(context.node_id, "/y", "mine"), export_path="/y")
    with pytest.raises(Stale):
        await context.write_documents([second, {**first, "_rev": "1-00000000000000000000000000000000"}])
    assert await context.read_document(second["_id"]) is None


async def test_credentials_are_nobodys_business(context: InstanceContext, control: RoutesContextImpl) -> None:
    credential = {
        "_id": "credential::MOSAICFS_0000000000000000",
        "type": "credential",
        "access_key_id": "MOSAICFS_0000000000000000",
        "secret_key_hash": "hash",
        "name": "a key of my own",
        "created_at": NOW,
    }
    for writer in (context, control):
        with pytest.raises(NotAllowed):
            await writer.write_documents([credential])
    with pytest.raises(NotAllowed):
        await context.read_document("credential::MOSAICFS_0000000000000000")
    with pytest.raises(NotAllowed):
        await context.find_documents(DocumentQuery(type="credential"))
    with pytest.raises(NotAllowed):
        await context.count_documents("credential")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"type": "file"}, "type"),
        ({"type": "node", "key": ("a", "b")}, "key"),
        ({"type": "label_rule.label", "key": ("a", "b", "c", "d")}, "key"),
        ({"type": "node", "limit": -1}, "limit"),
        ({"type": "node", "offset": -1}, "offset"),
    ],
)
async def test_a_query_that_makes_no_sense_says_so(context: InstanceContext, query: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as raised:
        await context.find_documents(DocumentQuery(**query))
    assert raised.value.details["field"] == field


async def test_a_routes_context_writes_for_the_control_plane_alone(
    control: RoutesContextImpl, mosaicfs_host: Harness
) -> None:
    await control.write_documents([label_rule("*", "/docs/", "work")])
    with pytest.raises(NotAllowed):
        await control.write_documents([annotation(mosaicfs_host.core.node_id, "labels")])
    assert await control.whoami() == {"kind": "user", "name": "me"}


async def test_effective_labels_come_from_assignments_and_rules(
    context: InstanceContext, control: RoutesContextImpl
) -> None:
    def record(path: str) -> FileRecord:
        name = path.rpartition("/")[2]
        return FileRecord(
            file_id="x.y", node_id=context.node_id, export_path=path, name=name, size=1, mtime=1, inode=1001
        )

    assignment = {
        "_id": ids.label_assignment_id(context.node_id, "/docs/a"),
        "type": "label_assignment",
        "node_id": context.node_id,
        "export_path": "/docs/a",
        "labels": ["urgent"],
        "label_times": {"urgent": {"added": NOW}},
        "updated_at": NOW,
        "updated_by": "me",
    }
    await control.write_documents([label_rule("*", "/docs/", "work"), assignment])
    labels = await context.effective_labels([record("/docs/a"), record("/docs/b"), record("/other")])
    assert labels == [("urgent", "work"), ("work",), ()]


async def test_bytes_of_a_file_arrive_in_ranges(context: InstanceContext, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(bytes(range(200)))
    record = FileRecord(
        file_id="x.y", node_id=context.node_id, export_path=str(file), name=file.name, size=200, mtime=1, inode=1001
    )
    assert b"".join([chunk async for chunk in context.open_file(record)]) == bytes(range(200))
    assert b"".join([chunk async for chunk in context.open_file(record, 10, 5)]) == bytes(range(10, 15))
    assert await context.local_path(record) == file
    elsewhere = FileRecord(
        file_id="x.y", node_id="node-other-aaaa", export_path=str(file), name="f", size=1, mtime=1, inode=1001
    )
    assert await context.local_path(elsewhere) is None


async def test_a_file_that_was_provided_goes_before_one_of_the_machine(
    context: InstanceContext, mosaicfs_host: Harness, tmp_path: Path
) -> None:
    file = tmp_path / os.fsdecode(b"odd \xe9")
    file.write_text("x")
    record = await mosaicfs_host.index(file)
    assert await context.local_path(record) == file
    provided = context.files_dir / os.fspath(file).lstrip("/")
    provided.mkdir(parents=True)
    assert await context.local_path(record) == file
    provided.rmdir()
    provided.write_text("y")
    assert await context.local_path(record) == provided
    provided.unlink()
    file.unlink()
    assert await context.local_path(record) is None


async def test_a_file_that_the_way_to_is_barred_has_no_path_here(
    context: InstanceContext, mosaicfs_host: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("x")
    record = await mosaicfs_host.index(tmp_path / "a")

    def barred(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("os.stat", barred)
        assert await context.local_path(record) is None


async def test_directories_are_private_and_paths_convert(context: InstanceContext, mosaicfs_host: Harness) -> None:
    assert context.state_dir == mosaicfs_host.home.path / "state" / "mine"
    assert context.state_dir.stat().st_mode & 0o777 == 0o700
    assert context.files_dir == mosaicfs_host.home.path / "bridge-data" / "files"
    mosaicfs_host.core.mounts |= {Path("/mnt/mosaic")}
    assert context.excluded[0] == mosaicfs_host.home.path
    assert Path("/mnt/mosaic") in context.excluded[1:]  # beside what else is mounted on this machine
    assert context.native(context.written(b"/a\xff")) == b"/a\xff"


async def test_the_process_behind_a_context_shows_through_the_trees_routes_alone(
    context: InstanceContext, control: RoutesContextImpl, mosaicfs_host: Harness
) -> None:
    tree = LoadedPlugin("vfs", "mosaicfs_vfs.plugin", None, "mosaicfs-vfs", "1.0", True, "ok")
    services = services_of(routes_context(mosaicfs_host.core, tree, dict))
    assert (services.store, services.replica) == (mosaicfs_host.store, mosaicfs_host.home.replica)
    assert services.step_ops() == mosaicfs_host.host.step_ops()
    assert not hasattr(context, "core")
    stranger = routes_context(mosaicfs_host.core, replace(tree, distribution="mosaicfs-vfs-too"), dict)
    for other in (context, control, stranger):
        with pytest.raises(TypeError, match="the tree alone"):
            services_of(other)  # type: ignore[arg-type]
