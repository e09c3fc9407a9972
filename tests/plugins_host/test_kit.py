"""Protects the conformance kit: good plugins pass it, and each known-bad one fails it for its own reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import EntryPoint

from mosaicfs_core.hooks import Complete, CompleteDirectory, Create, Delete, Directory, Entry, Rename
from mosaicfs_core.testing import CrawlContract, CrawlModel
from mosaicfs_core.testing.checks import run_checks
from mosaicfs_core.testing.faults import FAULTS

pytestmark = pytest.mark.logs("^plugin fails_to_import ")


async def failures(plugin: EntryPoint, path: Path) -> dict[str, str]:
    return {check: problem for check, problem in await run_checks(plugin, path) if problem}


async def test_a_plugin_that_leaves_a_task_behind_fails(tmp_path: Path) -> None:
    failed = await failures(FAULTS["leaks"], tmp_path)
    (problem,) = failed.values()
    assert "left behind after stopping: tasks" in problem
    assert "leaked by a fault" in problem


async def test_a_plugin_that_fails_to_import_fails_everything(tmp_path: Path) -> None:
    failed = await failures(FAULTS["fails_to_import"], tmp_path)
    assert len(failed) == 5
    assert all("boom at import" in problem for problem in failed.values())
    assert ["Traceback" in problem for problem in failed.values()] == [True, False, False, False, False]


async def test_a_plugin_whose_hooks_raise_or_lie_fails(tmp_path: Path) -> None:
    raised = await failures(FAULTS["raises"], tmp_path / "raises")
    assert any("mosaicfs_step_ops failed: RuntimeError: boom" in problem for problem in raised.values())
    lied = await failures(FAULTS["lies"], tmp_path / "lies")
    assert any("not a list of StepOp" in problem for problem in lied.values())


class Restless:
    """A source whose crawl names its file with another time each time."""

    plugin: str | EntryPoint = FAULTS["restless"]
    settings: dict[str, Any] = {}  # noqa: RUF012 - as an author would write it
    odd_names = False

    def add(self, name: bytes, content: bytes) -> str:
        return "/restless/kept.txt" if name == b"kept.txt" else "/restless/one.txt"

    def remove(self, export_path: str) -> None:
        """Never notices."""

    def break_part(self) -> Callable[[], None] | None:
        return None


@pytest.mark.parametrize(
    "contract",
    [
        CrawlContract.test_names_what_is_there_and_a_second_crawl_changes_nothing,
        CrawlContract.test_a_changed_file_is_seen,
        CrawlContract.test_a_removed_file_is_gone_and_the_others_stay,
    ],
)
async def test_a_crawl_that_is_not_idempotent_and_sees_no_change_fails(contract: Any, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        await contract(CrawlContract(), Restless(), tmp_path)


def test_the_model_knows_what_operations_mean() -> None:
    model = CrawlModel()
    for path in ("/a/one", "/a/b/two", "/a/c/three", "/other"):
        model.apply(Create(export_path=path, size=1, mtime=1))
    model.begin()
    model.apply(Directory(export_path="/a", files=[Entry("new", 2, 2)], directories=["b"]))
    assert set(model.files) == {"/a/new", "/a/b/two", "/other"}
    model.apply(Rename(export_path="/moved", previous_export_path="/a/b"))
    assert set(model.files) == {"/a/new", "/moved/two", "/other"}
    model.begin()
    model.apply([Create(export_path="/moved/four", size=1, mtime=1), CompleteDirectory(export_path="/moved")])
    assert set(model.files) == {"/a/new", "/moved/four", "/other"}
    model.apply(Delete(export_path="/moved"))
    assert set(model.files) == {"/a/new", "/other"}
    model.begin()
    model.apply(Complete(prefix="/"))
    assert model.files == {}
