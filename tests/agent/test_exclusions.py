"""Protects the promise that every exclusion is listed with its reason, and that the agent says exactly why a path is
not indexed: nothing is summed up, nothing is written, and nothing is guessed."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import paths
from mosaicfs_core.errors import NotFound
from mosaicfs_plugins.localfs import exclusions as exclusions_module
from mosaicfs_plugins.localfs.scan import Listing

Write = Callable[[Path, Mapping[str, str]], None]


async def everything(node: Any, path: Path | None = None, page: int = 1_000) -> dict[str, tuple[str, str]]:
    """All exclusions, read in pages: kind and reason by path; each comes once."""
    found: dict[str, tuple[str, str]] = {}
    more = True
    while more:
        asked = None if path is None else str(path)
        answer = await node.agent.exclusions(asked, limit=page, offset=len(found))
        more = answer.more
        assert all(item.count == 1 and item.export_path not in found for item in answer.items)
        found |= {item.export_path: (item.kind, item.message) for item in answer.items}
    return found


@pytest.fixture
def odd(node: Any, write: Write) -> Any:
    """A tree with one of everything that is left out."""
    tree = node.tree
    write(tree, {".mosaicfsignore": "*.tmp\ncache/\n", "a.txt": "", "b.tmp": "", "cache/in/deep": "", "sub/x.tmp": ""})
    write(tree, {"sub/.mosaicfsignore": "!x.tmp\n*.log", "sub/y.log": "", "mount/inside": ""})
    (tree / "link").symlink_to("a.txt")
    (tree / "sub" / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    node.core.mounts |= {tree / "mount"}
    return node


async def test_each_thing_left_out_is_named_with_its_reason(odd: Any) -> None:
    await odd.start()
    tree = odd.tree
    link = "a symbolic link; links are not followed"
    expected = {
        f"{tree}/b.tmp": ("ignored", f"the pattern *.tmp in {tree}/.mosaicfsignore"),
        f"{tree}/cache": ("ignored", f"the pattern cache/ in {tree}/.mosaicfsignore"),
        f"{tree}/link": ("symlink", link),
        f"{tree}/mount": ("ignored", "belongs to MosaicFS"),
        f"{tree}/pipe": ("special", "a named pipe; only regular files are indexed"),
        f"{tree}/socket": ("special", "a socket; only regular files are indexed"),
        f"{tree}/sub/loop": ("symlink", link),
        f"{tree}/sub/y.log": ("ignored", f"the pattern *.log in {tree}/sub/.mosaicfsignore"),
    }
    assert await everything(odd) == expected
    assert await everything(odd, page=3) == expected
    assert await everything(odd, tree.parent) == expected
    assert set(await everything(odd, tree / "sub")) == {f"{tree}/sub/loop", f"{tree}/sub/y.log"}


async def test_indexed_and_left_out_together_are_all_there_is(odd: Any) -> None:
    await odd.start()
    names = {paths.escape(os.fsencode(path)) for path in walk(odd.tree)}
    rows = {f"{odd.tree}/{name}" for name in odd.rows()}
    excluded = set(await everything(odd))
    beneath = {name for name in names if any(paths.is_under(name, path) for path in excluded)}
    assert rows | beneath == names
    assert not rows & beneath


def walk(tree: Path) -> Iterator[str]:
    for directory, directories, files in os.walk(tree):
        for name in files + [name for name in directories if os.path.islink(os.path.join(directory, name))]:
            yield os.path.join(directory, name)


async def test_hundreds_in_one_folder_are_named_one_by_one(node: Any, write: Write) -> None:
    write(node.tree, {f"f{number}.tmp": "" for number in range(300)})
    await node.configure(ignore=["*.tmp"])
    for number in range(300):
        (node.tree / f"l{number}").symlink_to("nowhere")
    await node.start()
    found = await everything(node, page=77)
    assert len(found) == 600
    assert found[f"{node.tree}/f7.tmp"] == ("ignored", "the pattern *.tmp in the settings")


async def test_a_report_changes_nothing(odd: Any) -> None:
    await odd.start()
    roots = odd.core.home.state_dir / "localfs" / "roots.json"

    def standing() -> Any:
        subsystems = odd.agent.status()["subsystems"]  # the others have work of their own
        return odd.core.store.seq, roots.read_bytes(), subsystems["crawler"], subsystems["watcher"]

    before = standing()
    (odd.tree / "new.txt").write_text("not indexed by a report")
    await everything(odd)
    assert standing() == before


async def test_a_path_outside_is_refused(node: Any, tmp_path: Path) -> None:
    await node.start()
    with pytest.raises(NotFound, match="no watched folder"):
        await node.agent.exclusions(str(tmp_path / "elsewhere"))
    finding = await node.agent.look(str(tmp_path / "elsewhere" / "f"))
    assert finding.kind == "outside"


@pytest.mark.parametrize(
    ("name", "kind", "about", "reason"),
    [
        ("b.tmp", "ignored", "b.tmp", "*.tmp in"),
        ("cache/in/deep", "ignored", "cache", "cache/ in"),
        ("link", "symlink", "link", "symbolic link"),
        ("sub/loop/a.txt", "symlink", "sub/loop", "symbolic link"),
        ("pipe", "special", "pipe", "named pipe"),
        ("mount/inside", "ignored", "mount", "belongs to MosaicFS"),
        ("sub", "directory", "sub", "directory"),
        ("nothing", "missing", "nothing", "does not exist"),
        ("a.txt/below", "missing", "a.txt/below", "does not exist"),
        ("nothing.tmp", "missing", "nothing.tmp", "does not exist"),
        ("late.txt", "file", "late.txt", "not crawled yet"),
    ],
)
async def test_what_is_at_a_path(odd: Any, name: str, kind: str, about: str, reason: str) -> None:
    await odd.start()
    (odd.tree / "late.txt").write_text("")
    finding = await odd.agent.look(f"{odd.tree}/{name}")
    assert (finding.kind, finding.export_path) == (kind, f"{odd.tree}/{about}")
    assert reason in finding.message


async def test_a_root_that_is_gone_and_an_instance_that_is_off(node: Any, write: Write) -> None:
    write(node.tree, {"f": ""})
    await node.start()
    node.tree.rename(node.tree.with_name("away"))
    assert [item.kind for item in (await node.agent.exclusions()).items] == ["inaccessible"]
    assert (await node.agent.look(f"{node.tree}/f")).kind == "inaccessible"
    node.tree.with_name("away").rename(node.tree)
    (document,) = await node.core.store.read(lambda reader: list(reader.documents_of("plugin")))
    await node.core.store.update(document["_id"], lambda present: {**present, "enabled": False})
    await node.settled(lambda: not node.agent.status()["subsystems"]["crawler"]["files_seen"])
    assert (await node.agent.look(f"{node.tree}/f")).kind == "inactive"
    assert (await node.agent.exclusions()).items == ()


async def test_an_unreadable_folder(node: Any, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(node.tree, {"closed/f": "", "open/f": ""})
    await node.start()
    real = os.open

    def refusing(path: Any, *given: Any, **named: Any) -> int:
        if path == str(node.tree / "closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *given, **named)

    monkeypatch.setattr(os, "open", refusing)
    closed = f"{node.tree}/closed"
    assert await everything(node) == {closed: ("unreadable", "Permission denied")}
    finding = await node.agent.look(f"{closed}/f")
    assert (finding.kind, finding.export_path) == ("unreadable", closed)


async def test_a_question_about_a_folder_does_not_walk_it(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(node.tree, {f"d{number}/f": "" for number in range(50)})
    await node.start()
    monkeypatch.setattr(exclusions_module, "DIRECTORIES", 5)
    read: list[str] = []
    real = Listing.read

    def counting(listing: Any, *given: Any) -> bool:
        read.append(listing)
        return real(listing, *given)

    monkeypatch.setattr(Listing, "read", counting)
    assert (await node.agent.look(str(node.tree))).kind == "directory"
    assert len(read) <= 10


async def test_figures_stay_when_a_part_is_crawled(odd: Any) -> None:
    await odd.start()
    before = odd.agent.status()["subsystems"]["crawler"]["counts"]
    assert (before["symlink"], before["special"]) == (2, 2)
    await odd.crawl(prefixes=[f"{odd.tree}/sub"])
    assert odd.agent.status()["subsystems"]["crawler"]["counts"] == before


async def test_a_crawl_of_a_part_follows_no_link_on_the_way(odd: Any) -> None:
    await odd.start()
    before = set(odd.rows())
    for prefixes in (["sub/loop", "sub/loop/sub", "sub/loop/a.txt"], ["sub/loop/a.txt"]):
        await odd.crawl(prefixes=[f"{odd.tree}/{prefix}" for prefix in prefixes])
        assert set(odd.rows()) == before


async def test_a_crawl_of_a_part_that_was_unmounted_deletes_nothing(node: Any, write: Write) -> None:
    write(node.tree, {"disk/f": "", "disk/in/g": "", "other": ""})
    await node.start()
    await node.stop()
    state = node.core.home.state_dir / "localfs" / "roots.json"
    memory = json.loads(state.read_text())
    memory[str(node.tree)]["mounts"] = {f"{node.tree}/disk": 4711}
    state.write_text(json.dumps(memory))
    await node.start()
    shutil.rmtree(node.tree / "disk")
    for directory in (None, node.tree / "disk"):
        if directory is not None:
            directory.mkdir()
        await node.crawl(prefixes=[f"{node.tree}/disk", f"{node.tree}/disk/in"])
        assert set(node.rows()) == {"disk/f", "disk/in/g", "other"}
        assert (await node.agent.look(f"{node.tree}/disk/f")).kind == "inaccessible"
