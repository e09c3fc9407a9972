"""Protects what is known of what cannot be looked at: a folder that may not be read, a filesystem that is not mounted.
Neither is ever taken for a deletion, whoever looks, and what happened meanwhile is made good."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.localfs.bed import disk, is_listing, watching

from mosaicfs_core.hooks import CrawlRequest, Create, Delete, Directory, Problem
from mosaicfs_core.testing import Harness
from mosaicfs_plugins.localfs.crawl import crawl
from mosaicfs_plugins.localfs.pending import DEBOUNCE_S
from mosaicfs_plugins.localfs.scan import LOST_MOUNT

CHILD = Path(__file__).with_name("unprivileged_child.py")


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user may enter, with ``root/closed/f`` in it. The one of pytest is for its user alone."""
    made = Path(tempfile.mkdtemp(prefix="mosaicfs-doubt-"))
    made.chmod(0o755)
    (made / "root/closed").mkdir(parents=True)
    (made / "root/closed/f").write_text("1")
    try:
        yield made
    finally:
        (made / "root/closed").chmod(0o700)
        shutil.rmtree(made)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder to watch."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def start(base: Path, fork_server: Any) -> Iterator[Callable[[str], Any]]:
    """``start(what)``: the child, doing that over ``base``, ready."""
    with ExitStack() as stack:

        def begin(what: str) -> Any:
            child = fork_server(CHILD)
            child.start(str(base), what)
            stack.callback(child.kill)
            until(child, "ready")
            return child

        yield begin


def until(child: Any, wanted: str) -> list[str]:
    """What the child prints up to a line."""
    lines = [child.line()]
    while lines[-1] != wanted:
        assert lines[-1], f"the child ended without {wanted}: {lines}"
        lines.append(child.line())
    return lines


def test_a_crawl_keeps_what_lies_in_a_folder_that_may_not_be_read(base: Path, start: Callable[[str], Any]) -> None:
    closed = base / "root/closed"
    closed.chmod(0)
    child = start("crawl")
    assert until(child, f"unreadable found {closed}") == [f"Directory {base}/root", f"unreadable found {closed}"]
    assert child.line() == ""


def test_a_root_that_may_not_be_read_is_missed_and_found_again(base: Path, start: Callable[[str], Any]) -> None:
    root = base / "root"
    child = start("watch")
    root.chmod(0)
    try:
        assert child.line() == f"inaccessible found {root}"
    finally:
        root.chmod(0o755)
    assert until(child, f"Directory {root}") == [f"inaccessible resolved {root}", f"Directory {root}"]


def test_a_folder_that_could_not_be_read_at_first_is_followed_once_it_can(
    base: Path, start: Callable[[str], Any]
) -> None:
    closed, made = base / "root/closed", base / "root/made"
    (base / "root").chmod(0o777)
    closed.chmod(0)
    child = start("watch as nobody")
    assert child.line() == f"unreadable found {closed}"
    closed.chmod(0o777)
    assert until(child, f"Directory {closed}") == [f"unreadable resolved {closed}", f"Directory {closed}"]
    (closed / "new").write_text("1")
    assert child.line() == f"Create {closed}/new"
    (closed / "new").unlink()
    assert child.line() == f"Delete {closed}/new"
    # The same while it runs.
    made.mkdir(mode=0)
    assert f"unreadable found {made}" in until(child, f"unreadable found {made}")
    made.chmod(0o777)
    until(child, f"unreadable resolved {made}")
    until(child, f"Directory {made}")  # it is watched by then
    (made / "new").write_text("1")
    until(child, f"Create {made}/new")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may write where the watcher may not read")
def test_a_change_where_nothing_may_be_read_any_more_is_no_deletion(base: Path, start: Callable[[str], Any]) -> None:
    closed = base / "root/closed"
    child = start("watch")
    closed.chmod(0o700)
    (closed / "f").write_text("changed")
    assert child.line() == f"unreadable found {closed}"
    (closed / "f").unlink()
    time.sleep(3 * DEBOUNCE_S)  # for it to settle while nobody may look
    closed.chmod(0o755)
    assert until(child, f"Directory {closed}") == [f"unreadable resolved {closed}", f"Directory {closed}"]


async def test_a_filesystem_unmounted_right_after_a_change_deletes_nothing(mosaicfs_host: Harness, root: Path) -> None:
    with disk(root / "usb") as usb:
        (usb.where / "f").write_text("1")
        async with watching(mosaicfs_host, root) as (_, heard):
            context = await mosaicfs_host.instance("localfs", {"paths": [str(root)]})
            async for _ in crawl(context, CrawlRequest(trigger="manual")):
                pass
            (usb.where / "f").write_text("changed")
            usb.unmount()
            problem = await heard.until(lambda found: isinstance(found, Problem))
            assert problem == Problem(kind="inaccessible", export_path=f"{root}/usb", message=LOST_MOUNT)
            await asyncio.sleep(3 * DEBOUNCE_S)
            assert not [found for found in heard.operations if isinstance(found, Delete)]


async def test_a_filesystem_that_comes_later_is_found_and_followed(
    mosaicfs_host: Harness, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.CHECK_S", 0.2)
    (root / "usb").mkdir()
    async with watching(mosaicfs_host, root) as (_, heard):
        with disk(root / "usb") as usb:
            (usb.where / "there").mkdir()
            await heard.until(is_listing(f"{root}/usb/there"))
            (usb.where / "there/f").write_text("1")
            await heard.until(lambda found: isinstance(found, Create) and found.export_path == f"{usb.where}/there/f")
        await heard.until(lambda found: isinstance(found, Problem) and found.message == LOST_MOUNT)
        (root / "usb/g").write_text("beneath the disk's place, but not of it")
        await asyncio.sleep(3 * DEBOUNCE_S)
        assert not [found for found in heard.operations if isinstance(found, Delete)]
        assert f"{root}/usb/g" not in [found.export_path for found in heard.operations if isinstance(found, Create)]


async def test_a_disk_that_is_put_back_is_looked_through(
    mosaicfs_host: Harness, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.CHECK_S", 0.2)
    with disk(tmp_path / "kept") as kept, disk(root / "usb") as usb:
        (kept.where / "f").write_text("1")
        usb.unmount()
        usb.mount_again(kept)
        async with watching(mosaicfs_host, root) as (_, heard):
            context = await mosaicfs_host.instance("localfs", {"paths": [str(root)]})
            async for _ in crawl(context, CrawlRequest(trigger="manual")):
                pass
            usb.unmount()
            await heard.until(lambda found: isinstance(found, Problem) and found.message == LOST_MOUNT)
            (kept.where / "meanwhile").write_text("1")
            usb.mount_again(kept)
            await heard.until(lambda found: isinstance(found, Problem) and found.resolved)
            await heard.until(
                lambda found: isinstance(found, Directory) and "meanwhile" in [entry.name for entry in found.files]
            )
            (usb.where / "after").write_text("1")
            await heard.until(lambda found: isinstance(found, Create) and found.export_path == f"{usb.where}/after")


async def test_a_disk_that_was_away_for_less_than_a_look_is_followed_again(
    mosaicfs_host: Harness, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.CHECK_S", 1.0)
    with disk(root / "usb") as usb:
        async with watching(mosaicfs_host, root) as (_, heard):
            usb.unmount()
            usb.mount()
            await heard.until(is_listing(str(usb.where)))
            (usb.where / "f").write_text("1")
            await heard.until(lambda found: isinstance(found, Create) and found.export_path == f"{usb.where}/f")
