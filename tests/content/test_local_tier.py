"""Protects reading local files: only what lies under a root, never through a link, always one version of the bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mosaicfs_core.content import (
    ByteSource,
    Content,
    LocalTier,
    WatchedRoot,
    native_roots,
    root_path,
    watch_roots,
    watched_roots,
)
from mosaicfs_core.documents import paths
from mosaicfs_core.errors import MosaicError, NotAllowed, NotFound, Unavailable, UserError
from mosaicfs_core.hooks import FileRecord

NODE = "node-a"


def record(path: Path | bytes, **changes: object) -> FileRecord:
    native = os.fsencode(path)
    try:
        facts = os.stat(native)
        size, mtime = facts.st_size, facts.st_mtime_ns // 1000
    except OSError:
        size, mtime = 0, 0
    written = paths.escape(native)
    fields = {"node_id": NODE, "size": size, "mtime": mtime, "inode": 1000} | changes
    return FileRecord(file_id="node-a.x", export_path=written, name=written.rpartition("/")[2], **fields)


def tier(root: Path, changed: list[FileRecord] | None = None) -> LocalTier:
    roots = native_roots([root_path(str(root))])
    return LocalTier(NODE, lambda: roots, None if changed is None else changed.append)


async def test_reads_ranges_and_streams(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    (tmp_path / "f").write_bytes(data)
    content = Content([tier(tmp_path)])
    with await content.open(record(tmp_path / "f")) as source:
        assert (source.size, source.present) == (len(data), ((0, len(data)),))
        assert await source.read(250, 20) == data[250:270]
        assert await source.read(len(data) - 5, 100) == data[-5:]
        assert await source.read(len(data), 1) == b""
        assert b"".join([part async for part in source.stream(chunk=1000)]) == data
        assert b"".join([part async for part in source.stream(10, 25, chunk=7)]) == data[10:35]


@pytest.mark.parametrize("name", ["n" * 255, "new\nline", "quo\"te's", "😀", b"bad\xff\xfename"])
def test_odd_names_open(tmp_path: Path, name: str | bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    Path(os.fsdecode(path)).write_bytes(b"odd")
    with tier(tmp_path).open_now(record(path)) as source:
        assert source.pread(0, 10) == b"odd"


def test_a_replaced_file_keeps_serving_the_opened_one(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old bytes")
    with tier(tmp_path).open_now(record(tmp_path / "f")) as source:
        (tmp_path / "g").write_bytes(b"new")
        os.replace(tmp_path / "g", tmp_path / "f")
        assert source.pread(0, 100) == b"old bytes"


def test_what_is_on_disk_is_served_and_the_change_is_reported(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"first")
    known = record(tmp_path / "f")
    changed: list[FileRecord] = []
    local = tier(tmp_path, changed)
    local.open_now(known).close()
    assert changed == []
    (tmp_path / "f").write_bytes(b"second")
    with local.open_now(known) as source:
        assert source.pread(0, 100) == b"second"
    assert changed == [known]


def test_links_and_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(outside / "secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "way").symlink_to(outside)
    (tmp_path / "root-sibling").write_bytes(b"secret")
    for path in (
        "root/link",
        "root/loop",
        "root/way/secret",
        "root/../outside/secret",
        "root-sibling",
        "outside/secret",
    ):
        with pytest.raises(NotAllowed):
            tier(root).open_now(record(tmp_path / path))


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_bytes(b"bytes")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    with tier(tmp_path / "root").open_now(record(tmp_path / "root" / "f")) as source:
        assert source.pread(0, 10) == b"bytes"


def test_pipes_directories_missing_and_hostile_paths_are_errors_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing", "missing/below"):
        with pytest.raises(NotFound):
            tier(tmp_path).open_now(record(tmp_path / name))
    nul = FileRecord(file_id="x.y", node_id=NODE, export_path="/a\0b", name="b", size=0, mtime=0, inode=1000)
    with pytest.raises((NotFound, UserError)):
        tier(tmp_path).open_now(nul)


def test_no_descriptor_is_leaked_by_refusals(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(NotFound):
            tier(tmp_path).open_now(record(tmp_path / "pipe"))
    assert len(os.listdir("/proc/self/fd")) == before


class Failing:
    def __init__(self, name: str, cost: int, error: MosaicError) -> None:
        self.name, self.cost, self.error = name, cost, error

    def serves(self, file: FileRecord) -> bool:
        return True

    async def open(self, file: FileRecord) -> ByteSource:
        raise self.error


async def test_the_next_tier_is_tried_and_the_first_error_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    first, last = Failing("cheap", 1, Unavailable("stale mount")), Failing("dear", 90, NotFound("gone"))
    with await Content([last, tier(tmp_path), first]).open(record(tmp_path / "f")) as source:
        assert source.tier == "local"
    with pytest.raises(Unavailable, match="stale mount"):
        await Content([last, first]).open(record(tmp_path / "f"))
    with pytest.raises(Unavailable, match="no way to reach"):
        await Content([tier(tmp_path)]).open(record(tmp_path / "f", node_id="node-other"))


def test_watch_roots_come_from_the_nodes_plugin_instances(tmp_path: Path) -> None:
    documents = [
        {"node_id": NODE, "watches": "paths", "settings": {"paths": [f"{tmp_path}/a/", f"{tmp_path}/x/../b"]}},
        {"node_id": NODE, "watches": "gone", "settings": {}},
        {"node_id": NODE, "watches": "places", "config": {"places": [f"{tmp_path}/a", "~"], "paths": ["/not"]}},
        {"node_id": NODE, "settings": {"paths": ["/"]}},
        {"node_id": "node-b", "watches": "paths", "settings": {"paths": ["/other"]}},
    ]
    home = os.path.abspath(os.path.expanduser("~"))
    assert watch_roots(documents, NODE) == (f"{tmp_path}/a", f"{tmp_path}/b", home)
    of_all = [*((NODE, root) for root in watch_roots(documents, NODE)), ("node-b", "/other")]
    assert list(watched_roots(documents)) == [WatchedRoot(node, root) for node, root in of_all]
