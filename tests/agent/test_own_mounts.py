"""Protects the index from MosaicFS's own mounts: announced, mounted or indexed by an earlier version, they stay out of
it, for crawls, for watches and for reports; and nobody in the agent's process asks them anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.mount_table import OWN_KIND, WATCHED, Mount, WatchedTable, resolved

Write = Callable[[Path, Mapping[str, str]], None]


class Table(WatchedTable):
    """A mount table in which some directories are mounts of ours."""

    def __init__(self) -> None:
        super().__init__()
        self._given: tuple[Mount, ...] = ()

    def mounts(self) -> tuple[Mount, ...]:
        return self._given

    def mount(self, *points: Path) -> None:
        """These are mounted from now on."""
        self._given = tuple(Mount("0:51", os.fspath(point), OWN_KIND, "mosaicfs") for point in points)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = Table()
    monkeypatch.setattr(WATCHED, "mounts", made.mounts)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], list[str]]]:
    """``asked(directory)``: what the file system was asked about a directory or beneath it since the beginning."""
    seen: list[str] = []

    def recorded(call: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | bytes | os.PathLike):
                seen.append(os.fsdecode(path))
            return call(path, *arguments, **options)

        return ask

    with monkeypatch.context() as patch:
        for name in ("stat", "lstat", "open", "scandir", "readlink", "statvfs", "access"):
            patch.setattr(os, name, recorded(getattr(os, name)))
        yield lambda place: [path for path in seen if path == str(place) or path.startswith(f"{place}/")]


async def test_a_mount_point_that_is_announced_before_it_is_made_is_never_entered(node: Any, write: Write) -> None:
    await node.configure(watch=True)
    await node.start()
    point = node.tree / "new" / "mount"
    node.core.mounts |= {point}
    write(node.tree, {"new/mount/all/phantom": "", "new/beside": ""})
    await node.settled(lambda: "new/beside" in node.rows())
    write(node.tree, {"new/mount/later": "", "last": ""})
    await node.settled(lambda: "last" in node.rows())
    assert set(node.rows()) == {"new/beside", "last"}


async def test_a_mount_that_nobody_announced_is_known_from_the_table(node: Any, write: Write, table: Table) -> None:
    write(node.tree, {"mount/phantom": "", "f": ""})
    table.mount(node.tree / "mount")
    await node.configure(watch=True)
    await node.start()
    assert set(node.rows()) == {"f"}
    table.mount(node.tree / "mount", node.tree / "another")
    write(node.tree, {"another/phantom": "", "mount/other": "", "g": ""})
    await node.settled(lambda: "g" in node.rows())
    await node.crawl()
    await node.crawl(prefixes=[f"{node.tree}/another"])
    await node.crawl(prefixes=[f"{node.tree}/mount/phantom"])
    assert set(node.rows()) == {"f", "g"}


async def test_a_mount_that_comes_while_a_crawl_runs_is_not_entered(
    node: Any, write: Write, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mosaicfs_plugins.localfs.scan import Listing

    write(node.tree, {"mount/phantom": "", "f": ""})
    reading = Listing._read

    def read(listing: Any, *arguments: Any) -> None:
        reading(listing, *arguments)
        table.mount(node.tree / "mount")

    monkeypatch.setattr(Listing, "_read", read)
    await node.start()
    assert set(node.rows()) == {"f"}


async def test_what_an_earlier_version_indexed_of_a_mount_goes_away(node: Any, write: Write, table: Table) -> None:
    """Its mount point was even remembered as a disk whose files must wait for its return."""
    write(node.tree, {"mount/phantom": "", "f": ""})
    await node.start()
    assert set(node.rows()) == {"f", "mount/phantom"}
    await node.stop()
    memory = node.core.home.state_dir / "localfs" / "roots.json"
    known = json.loads(memory.read_bytes())
    known[os.fspath(node.tree)]["mounts"] = {f"{node.tree}/mount": 51}
    memory.write_text(json.dumps(known))
    table.mount(node.tree / "mount")
    await node.start()
    assert set(node.rows()) == {"f"}
    assert not node.agent.status()["subsystems"]["crawler"]["inaccessible"]


async def test_a_mount_is_asked_nothing(
    node: Any, write: Write, table: Table, asked: Callable[[Path], list[str]]
) -> None:
    """Whoever asks may wait for a process that waits for this one."""
    mount = node.tree / "mount"
    write(node.tree, {"mount/in/phantom": "", "f": ""})
    table.mount(mount)
    begun = len(asked(mount))
    await node.configure(paths=[os.fspath(node.tree), os.fspath(mount / "in"), os.fspath(node.tree / "l")], watch=True)
    await node.start()
    write(node.tree, {"g": ""})
    await node.settled(lambda: "g" in node.rows())
    await node.crawl()
    await node.crawl(prefixes=[f"{mount}/in"])
    found = await node.agent.exclusions()
    assert [(one.export_path, one.message) for one in found.items] == [(os.fspath(mount), "belongs to MosaicFS")]
    looked = await node.agent.look(f"{mount}/in/phantom")
    assert (looked.kind, looked.export_path) == ("ignored", os.fspath(mount))
    assert asked(mount)[begun:] == []


async def test_a_folder_inside_a_mount_is_no_root(
    node: Any, write: Write, table: Table, asked: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    mount = tmp_path / "mount"
    write(mount, {"in/phantom": ""})
    table.mount(mount)
    (tmp_path / "way").symlink_to(mount / "in")
    begun = len(asked(mount))
    await node.configure(paths=[os.fspath(mount / "in"), os.fspath(tmp_path / "way")], watch=True)
    await node.start()
    await node.crawl()
    problems = node.agent.problems()
    assert {problem.message for problem in problems} == {"the folder belongs to MosaicFS itself"}
    assert not node.rows()
    assert asked(mount)[begun:] == []


async def test_a_folder_inside_the_home_may_be_named_but_not_what_is_mounted_in_it(
    node: Any, write: Write, table: Table
) -> None:
    sample = node.core.home.path / "sample"
    write(sample, {"f": "", "mount/phantom": ""})
    table.mount(sample / "mount")
    await node.configure(paths=[os.fspath(sample)])
    await node.start()
    reader = node.core.store.reader
    assert reader.file_by_path(node.core.node_id, f"{sample}/f").status == "active"
    assert reader.file_by_path(node.core.node_id, f"{sample}/mount/phantom") is None


def test_resolving_asks_nothing_of_what_is_not_to_be_asked(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/deep/../deep")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "real" / "up").symlink_to("../..")
    for path in ("link/x", "real/deep/..", "real/up/y", "none/at/all", "real//./deep/", ""):
        whole = f"{tmp_path}/{path}"
        assert resolved(whole, ()) == os.path.realpath(whole), path
    assert resolved("/", ()) == "/"
    assert resolved("/..", ()) == "/"
    assert resolved(f"{tmp_path}/loop/x", ()) == f"{tmp_path}/loop/x"
    own = {f"{tmp_path}/real"}
    assert resolved(f"{tmp_path}/link/x", own) == f"{tmp_path}/real/deep/x"
