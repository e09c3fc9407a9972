"""Protects `plugin check`: every check of the kit that applies to a package is run, in every way to run it, with what
is given for it; bad answers are caught, and what only an author's tests can know is said to be left to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mosaicfs_core.cli.main import cli
from mosaicfs_core.hooks.wire import ANNOTATION_LIMIT
from mosaicfs_core.testing.checks import PLUGIN_CHECKS
from mosaicfs_core.testing.crawl_checks import CRAWL_CHECKS
from mosaicfs_core.testing.faults import FAULTS
from mosaicfs_core.testing.package_checks import Given, run_all
from mosaicfs_core.testing.package_checks import Result as Outcome
from mosaicfs_core.testing.transports import TRANSPORTS, running
from mosaicfs_core.testing.work_checks import EVENT_CHECKS, WorkSource, event_of, make_files

FAULT = "mosaicfs_core.testing.faults"
GOOD = """
from mosaicfs_core.hooks import *

@hookimpl
def mosaicfs_manifest():
    least = {"type": "object", "required": ["least"], "properties": {"least": {"type": "integer", "title": "Least"}}}
    return PluginManifest(title="Good", description="Counts.", version="1", hook_api=HOOK_API, subscribed_events=EVENTS,
                          mime_globs=("text/*",), queries=(Endpoint(name="q", capability="search"),),
                          settings_schema=least)

@hookimpl
async def mosaicfs_file_event(context, event):
    if event.event not in ("file.added", "file.modified"):
        return None
    with open(event.local_path or event.file.export_path, "rb") as file:
        return {"bytes": len(file.read()) + context.config["least"]}

@hookimpl
async def mosaicfs_query(context, request):
    return ResultEnvelope(results=tuple(Hit(score=1.0) for _ in range(min(2, request.limit))))
"""


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that keeps its contracts, once it has a setting."""
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "good_package.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "good=good_package"


def check(*words: str) -> Result:
    return CliRunner().invoke(cli, ["plugin", "check", *words])


def rows_of(done: Result) -> list[Any]:
    rows: list[Any] = json.loads(done.stdout)
    return rows


@pytest.mark.logs("mosaicfs_file_event failed|No such file")
def test_every_check_is_run_in_every_way(good: str) -> None:
    done = check(good, "--json", "--setting", "least=2")
    rows = rows_of(done)
    assert done.exit_code == 0, rows
    assert {row["result"] for row in rows} == {"ok"}
    assert len(rows) == len(PLUGIN_CHECKS) + len(TRANSPORTS) * (len(EVENT_CHECKS) + 1)
    assert {row["way"] for row in rows} == {"", *TRANSPORTS}


def test_what_it_lacks_is_said_and_not_counted(good: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"png")
    unset = rows_of(check(good, "--json", "--way", "package"))
    assert {row["skipped"] for row in unset if row["result"] == "skipped"} == {"setting least: is required"}
    words = (good, "--json", "--way", "package", "--setting", "least=2", "--file", str(picture))
    other = {row["check"]: row for row in rows_of(check(*words))}
    assert other["answers events that come again as before"]["skipped"] == (
        "it takes text/*: give such files with --file"
    )
    assert other["answers odd questions in time and within the limit"]["result"] == "ok"
    wrong = check(good, "--setting", "most=2")
    assert (wrong.exit_code, "good has no setting 'most'" in wrong.stderr) == (2, True)


async def outcomes(name: str, path: Path, *ways: str) -> list[Outcome]:
    return [one async for one in run_all(FAULTS[name], path, Given(transports=ways or ("package",)))]


async def test_a_crawl_of_folders_is_held_to_its_whole_contract_and_others_to_what_they_find(tmp_path: Path) -> None:
    (found,) = [one for one in await outcomes("restless", tmp_path / "restless") if one.problem]
    assert "nothing changed, and it said otherwise" in (found.problem or "")
    skipped = [one for one in await outcomes("restless", tmp_path / "again") if one.skipped]
    assert len(skipped) == len(CRAWL_CHECKS)
    assert all("test it with CrawlContract" in (one.skipped or "") for one in skipped)
    whole = [one async for one in run_all("localfs", tmp_path / "localfs", Given(settings={"watch": False}))]
    assert len(whole) == len(PLUGIN_CHECKS) + len(CRAWL_CHECKS)
    assert [one for one in whole if one.problem or one.skipped] == []


@pytest.mark.logs("mosaicfs_(file_event|query) (failed|returned)")
@pytest.mark.parametrize(
    ("fault", "event", "query"),
    [
        ("work_raises", "boom", "boom"),
        ("work_lies", "returned list, not an object", "returned dict, not a ResultEnvelope"),
        ("work_floods", f"an annotation of more than {ANNOTATION_LIMIT:,} bytes", "results, at most 3 were asked for"),
        ("differs", "answered otherwise", "returned dict, not a ResultEnvelope"),
    ],
)
async def test_bad_answers_are_caught(tmp_path: Path, fault: str, event: str, query: str) -> None:
    problems = {one.check: one.problem or "" for one in await outcomes(fault, tmp_path)}
    assert event in problems["answers events that come again as before"]
    assert query in problems["answers odd questions in time and within the limit"]


@pytest.mark.logs("plugin fails_to_import cannot be used")
async def test_one_that_does_not_load_is_not_asked_for_more(tmp_path: Path) -> None:
    assert len(await outcomes("fails_to_import", tmp_path)) == len(PLUGIN_CHECKS)


@pytest.mark.logs("mosaicfs_file_event returned an annotation")
@pytest.mark.parametrize("way", TRANSPORTS)
async def test_an_annotation_has_one_limit_whatever_runs_the_plugin(tmp_path: Path, way: str) -> None:
    plugin = FAULTS["work_floods"]
    async with running(plugin, way, tmp_path / "home") as (harness, made):
        (file,) = await make_files(harness, WorkSource(plugin, {"a": b"x"}), tmp_path / "files")
        with pytest.raises(Exception, match=f"an annotation of more than {ANNOTATION_LIMIT:,} bytes"):
            await made.file_event(event_of(harness, 1, "file.added", file))
