"""Protects the host from plugins that cannot be loaded: each fails alone, is listed with its reason, leaves nothing."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest
from importlib_metadata import EntryPoint

from mosaicfs_core.hooks import HOOK_API, Endpoint, PluginManifest, hookimpl
from mosaicfs_core.plugins import discovery, loading
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.testing.faults import FAULTS, faulty

pytestmark = pytest.mark.logs("^plugin ")

EXPECTED = {
    "fails_to_import": "RuntimeError: boom at import",
    "exits_at_import": "SystemExit: a plugin wants to end the process",
    "no_manifest": "plugin no_manifest has no mosaicfs_manifest()",
    "manifest_raises": "RuntimeError: boom",
    "manifest_lies": "mosaicfs_manifest returned dict instead of a PluginManifest",
    "wrong_api": f"written for hook API {HOOK_API + 1}, this MosaicFS offers {HOOK_API}: upgrade MosaicFS",
    "unknown_hook": "plugin unknown_hook: there is no hook mosaicfs_crawll; did you mean mosaicfs_crawl?",
    "unmarked_hook": "plugin unmarked_hook: mosaicfs_step_ops is not marked with @hookimpl",
    "unknown_argument": "mosaicfs_step_ops",
    "wrong_kind": "plugin wrong_kind: mosaicfs_crawl must be an async generator",
    "wrong_kind_async": "plugin wrong_kind_async: mosaicfs_step_ops must be a plain function",
    "nowhere": "plugin nowhere has mosaicfs_crawl, but its manifest does not say where its files lie",
    "watches_nothing": "it watches the setting folders, which it lacks",
    "bad_schema": "its settings_schema is no schema of an object: its properties are no object",
}


@pytest.mark.parametrize(("name", "reason"), EXPECTED.items())
def test_each_failure_is_named_listed_and_unregistered(name: str, reason: str) -> None:
    host = PluginHost.discover(entry_points=faulty(name, "restless"))
    failed = host.plugins[name]
    assert failed.status == "failed"
    assert failed.error is not None
    assert reason in failed.error
    assert name in failed.error or "boom" in failed.error or "SystemExit" in failed.error
    assert failed.traceback is not None
    assert failed.traceback.startswith("Traceback")
    assert failed.hooks == frozenset()
    assert host._manager.get_plugin(name) is None
    assert [plugin.name for plugin in host.providers("mosaicfs_crawl")] == ["restless"]


def test_one_that_hangs_at_import_is_named_and_the_others_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setitem(sys.modules, "waited_for", let_go)  # type: ignore[arg-type]  # found by name, like a module
    (tmp_path / "hangs_at_import.py").write_text("import waited_for\nwaited_for.wait()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(loading, "LOAD_S", 0.2)
    hanging = EntryPoint(name="hangs", value="hangs_at_import", group="mosaicfs")
    host = PluginHost.discover(entry_points=[hanging, *faulty("restless")])
    let_go.set()
    assert host.plugins["hangs"].error == "plugin hangs: its import has not ended after 0.2 s"
    assert [plugin.name for plugin in host.providers("mosaicfs_crawl")] == ["restless"]


def test_two_loaded_at_once_leave_standard_output_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    first_in, second_came = threading.Event(), threading.Event()
    seen: list[bool] = []

    class Lock:
        """Says when a second one has come to the door."""

        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            if first_in.is_set():
                second_came.set()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    def second() -> None:
        with loading._output_aside():
            seen.append(os.fstat(1)[:3] == os.fstat(2)[:3])

    monkeypatch.setattr(loading, "_ONE_ASIDE", Lock())
    before = os.fstat(1)[:3]
    other = threading.Thread(target=second)
    with loading._output_aside():
        first_in.set()
        other.start()
        assert second_came.wait(30)
    other.join()
    assert seen == [True]
    assert os.fstat(1)[:3] == before


@pytest.mark.logs("^asked to leave out a plugin: ")
def test_a_disabled_name_that_no_plugin_has_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    points = faulty("restless", "leaks")
    PluginHost.discover(disabled=["restless", "restles", "other"], only=("leaks",), entry_points=points)
    assert [record.getMessage() for record in caplog.records] == [
        "asked to leave out a plugin: no plugin restles is installed; did you mean restless?",
        "asked to leave out a plugin: no plugin other is installed; installed are leaks, restless",
    ]


def test_a_disabled_plugin_is_listed_and_not_imported() -> None:
    point = EntryPoint(name="absent", value="module_that_must_not_be_imported", group="mosaicfs")
    host = PluginHost.discover(disabled=["absent"], entry_points=[point])
    assert host.plugins["absent"].status == "disabled"
    assert host.plugins["absent"].error == "disabled by name"
    assert "module_that_must_not_be_imported" not in sys.modules


def test_safe_mode_loads_first_party_distributions_alone() -> None:
    host = PluginHost.discover(safe_mode=True, entry_points=faulty("restless"))
    assert host.plugins["restless"].status == "disabled"
    assert host.plugins["restless"].error == "not loaded in safe mode"
    ours = PluginHost.discover(safe_mode=True, only={"email", "fulltext"})
    assert {name: plugin.status for name, plugin in ours.plugins.items()} == {"email": "ok", "fulltext": "ok"}


def test_first_party_is_told_by_the_distribution_not_by_the_name() -> None:
    stranger = EntryPoint(name="email", value="mosaicfs_core.testing.faults:restless", group="mosaicfs")
    assert not discovery.installed_plugins([stranger])[0].first_party
    ours = {plugin.name: plugin for plugin in discovery.installed_plugins()}
    assert ours["email"].first_party
    assert ours["email"].distribution == "mosaicfs-bridge-email"


def test_a_taken_name_stays_with_the_first_and_the_other_is_listed_as_failed() -> None:
    second = EntryPoint(name="restless", value="mosaicfs_core.testing.faults:leaks", group="mosaicfs")
    host = PluginHost.discover(entry_points=[*faulty("restless"), second])
    assert host.plugins["restless"].status == "ok"
    loser = host.plugins["restless@unknown"]
    assert (loser.status, loser.error) == ("failed", "the name 'restless' is taken by another package")


def test_a_malformed_name_is_refused() -> None:
    point = EntryPoint(name="Not A Name", value="mosaicfs_core.testing.faults:restless", group="mosaicfs")
    host = PluginHost.discover(entry_points=[point])
    assert "must match" in (host.plugins["Not A Name"].error or "")


def test_every_fault_together_leaves_a_host_that_works() -> None:
    host = PluginHost.discover(entry_points=FAULTS.values())
    assert {name for name, plugin in host.plugins.items() if plugin.status == "failed"} == set(EXPECTED)
    assert host.step_ops().keys() == {"boom", "lie"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("queries", ("search",), r"Expected `object`, got `str` - at `\$\.queries\[0\]`"),
        ("subscribed_events", "file.added", r"Expected `array`, got `str` - at `\$\.subscribed_events`"),
        ("subscribed_events", ("file.appeared",), "there is no event file.appeared"),
        ("mime_globs", (1,), r"Expected `str`, got `int` - at `\$\.mime_globs\[0\]`"),
        ("workers", 0, "workers is not above 0"),
        ("workers", "many", "Expected `int`"),
        ("health_check_interval_s", 0, "health_check_interval_s is not above 0"),
        ("poll_interval_s", float("nan"), "poll_interval_s is not above 0"),
        ("poll_interval_s", True, "Expected `float"),
        ("isolate", "yes", "Expected `bool"),
        ("settings_schema", {"properties": {"a": object()}}, "object is nothing that JSON has"),
    ],
)
def test_a_manifest_is_checked_whole(field: str, value: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = discovered({field: value}, monkeypatch)
    found = host.plugins["odd"]
    assert found.status == "failed"
    assert re.search(reason, found.error or "")


def test_a_manifest_may_be_written_in_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    host = discovered(
        {
            "queries": [{"name": "q", "capability": "search"}],
            "subscribed_events": ["file.added"],
            "settings_schema": MappingProxyType({"type": "object"}),
        },
        monkeypatch,
    )
    manifest = host.plugins["odd"].manifest
    assert manifest is not None, host.plugins["odd"].error
    assert manifest.queries == (Endpoint(name="q", capability="search"),)
    assert manifest.subscribed_events == ("file.added",)
    assert manifest.settings_schema == {"type": "object"}


def discovered(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> PluginHost:
    """A host with a plugin whose manifest has these fields."""
    module = ModuleType("odd_manifest")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(**{"title": "t", "description": "d", "version": "1", "hook_api": HOOK_API, **fields})

    vars(module)["mosaicfs_manifest"] = mosaicfs_manifest
    monkeypatch.setitem(sys.modules, "odd_manifest", module)
    return PluginHost.discover(entry_points=[EntryPoint(name="odd", value="odd_manifest", group="mosaicfs")])
