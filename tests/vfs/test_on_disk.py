"""Protects explanations of files that are not indexed: the disk of this node is asked, and the answer is what is there,
not a list of what might be."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import Agent
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instances
from mosaicfs_core.testing.harness import Harness
from mosaicfs_vfs.commands import _explanation_lines
from mosaicfs_vfs.namespace.explain import Explanation
from mosaicfs_vfs.on_disk import LOOKED_AT, with_disk
from mosaicfs_vfs.service import NamespaceService

THIS = "node-here"


class Disk:
    """Answers from a table; remembers what it was asked."""

    def __init__(self, **kinds: str) -> None:
        self._kinds = {f"/{name}": kind for name, kind in kinds.items()}
        self.asked: list[str] = []

    async def look(self, path: str) -> Any:
        from mosaicfs_core.agent.exclusions import Finding

        self.asked.append(path)
        kind = self._kinds.get(path)
        return None if kind is None else Finding(kind, path, f"because it is {kind}")


def unknown(*places: tuple[str, str], reason: Any = "never_indexed") -> Explanation:
    return Explanation(False, None, reason, "as the status says", "/d/x", None, (), (), places)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ignored", "ignored"),
        ("symlink", "symlink"),
        ("special", "special"),
        ("unreadable", "unreadable"),
        ("inaccessible", "unreadable"),
        ("missing", "not_on_disk"),
        ("file", "not_crawled"),
        ("directory", "never_indexed"),
        ("inactive", "never_indexed"),
    ],
)
async def test_each_finding_is_a_reason_and_a_sentence(kind: str, reason: str) -> None:
    answer = await with_disk(unknown((THIS, "/x")), THIS, Disk(x=kind))
    assert (answer.reason, answer.shown) == (reason, False)
    assert f"/x of {THIS}" in answer.message


async def test_other_nodes_and_paths_nobody_knows_keep_what_is_said() -> None:
    for asked, disk in [(unknown(("node-other", "/x")), Disk(x="symlink")), (unknown((THIS, "/x")), Disk())]:
        assert await with_disk(asked, THIS, disk) == asked
    both = unknown(("node-other", "/x"), (THIS, "/x"))
    assert await with_disk(both, THIS, Disk(x="missing")) == both
    assert (await with_disk(both, THIS, Disk(x="symlink"))).reason == "symlink"
    gone = unknown((THIS, "/x"), reason="deleted")
    assert await with_disk(gone, THIS, Disk(x="missing")) == gone
    assert (await with_disk(gone, THIS, Disk(x="ignored"))).reason == "ignored"


async def test_what_is_there_counts_for_more_and_few_places_are_looked_at() -> None:
    places = [(THIS, "/a"), (THIS, "/b"), *((THIS, f"/more{number}") for number in range(50))]
    disk = Disk(a="missing", b="symlink")
    assert (await with_disk(unknown(*places), THIS, disk)).reason == "symlink"
    assert len(disk.asked) == LOOKED_AT


async def test_an_indexed_file_that_this_machine_may_not_read(
    core: CoreServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/tree/was.tmp2"
    real = os.open

    def refusing(opened: Any, *given: Any, **named: Any) -> int:
        if os.fsdecode(opened) == path:
            raise PermissionError(13, "Permission denied", opened)
        return real(opened, *given, **named)

    service = NamespaceService(core)
    try:
        readable = await service.run(lambda namespace: namespace.explain(path=path))
        assert await service.with_disk(readable) == readable
        monkeypatch.setattr(os, "open", refusing)
        answer = await service.with_disk(readable)
        assert answer.message.startswith(readable.message)
        assert answer.message.endswith(f" Its bytes cannot be read on {core.node_id}: Permission denied.")
        assert (answer.shown, answer.reason) == (readable.shown, readable.reason)
    finally:
        await service.close()


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[CoreServices]:
    """A node with an agent over ``tmp_path/tree``."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".mosaicfsignore").write_text("*.tmp\nprivate/\n")
    (tree / "was.tmp2").write_text("")
    (tree / "link").symlink_to("elsewhere")
    os.mkfifo(tree / "pipe")
    async with Harness.start(tmp_path / "home") as harness:
        await Instances(harness.core).ensure_defaults(
            {"localfs": {"paths": [str(tree)], "watch": False, "ignore": ["*.log", "!keep.log"]}}
        )
        async with Agent(harness.core) as agent:
            harness.core.agent = agent
            await agent.first_crawl_done.wait()
            yield harness.core


async def test_the_reasons_of_a_real_folder(core: CoreServices, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "junk.tmp").write_text("")
    (tree / "private").mkdir()
    (tree / "private" / "diary").write_text("")
    for name in ("late", "other.log", "keep.log"):
        (tree / name).write_text("")
    (tree / ".mosaicfsignore").write_text("*.tmp\nprivate/\n*.tmp2\n")
    await core.agent.crawl(prefixes=[f"{tree}/was.tmp2"])
    service = NamespaceService(core)

    async def ask(path: str) -> Explanation:
        return await service.with_disk(await service.run(lambda namespace: namespace.explain(path)))

    ignore = f"in {tree}/.mosaicfsignore"
    for name, reason, words in [
        ("junk.tmp", "ignored", f"the pattern *.tmp {ignore}"),
        ("was.tmp2", "ignored", f"the pattern *.tmp2 {ignore}"),
        ("private/diary", "ignored", f"with {tree}/private: the pattern private/ {ignore}"),
        ("other.log", "ignored", "the pattern *.log in the settings"),
        ("keep.log", "not_crawled", "not indexed yet"),
        ("link", "symlink", "symbolic link"),
        ("pipe", "special", "named pipe"),
        ("none", "not_on_disk", "does not exist"),
        ("late", "not_crawled", "not indexed yet"),
        ("private", "ignored", "the pattern private/"),
    ]:
        answer = await ask(f"{tree}/{name}")
        assert (answer.reason, words in answer.message) == (reason, True), answer
    assert "no watched folder" in (await ask(f"{tmp_path}/outside")).message
    await service.close()


def test_the_mounts_at_the_path_asked_about_come_first(world: Any) -> None:
    world.file("/s/a.txt")
    for name in ("one", "two", "three"):
        world.directory(f"/{name}", world.mount("/s"))
    world.directory(
        "/two", world.mount("/s"), enforce_steps_on_children=True, steps=[{"op": "glob", "pattern": "*.md"}]
    )
    world.directory("/two/child", world.mount("/s"))
    world.namespace.refresh()
    answer = world.namespace.explain("/three/a.txt")
    assert answer.mounts[0].path == "/three/a.txt"
    assert len(answer.mounts) == 4
    shown = {"message": "", "path": answer.path, "mounts": [_as_json(mount) for mount in answer.mounts]}
    lines = list(_explanation_lines(shown))
    assert [line for line in lines if line.startswith("mount of")] == ["mount of node-a:/s in /three (prefix_replace)"]
    assert lines[-1] == "3 more mounts cover the file elsewhere; --json shows them."
    shown = {**shown, "path": None}
    assert len([line for line in _explanation_lines(shown) if line.startswith("mount of")]) == 4
    hidden = world.namespace.explain("/two/child/a.txt")
    assert "of /two, which /two/child inherits, excludes it." in hidden.message


def _as_json(mount: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(mount)
