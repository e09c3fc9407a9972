"""Protects that a search is never silently incomplete: what an instance should answer and cannot is known as long as
somebody wants it to, whatever is in the way, and a node that begins takes nothing back that it does not know yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mosaicfs_core.agent.jobs.capabilities import with_capabilities
from mosaicfs_core.agent.jobs.offers import Offer, offer_of
from mosaicfs_core.hooks import Endpoint
from mosaicfs_core.plugins.instances import Instance

SEARCH, WIDGET = Endpoint(name="s", capability="search"), Endpoint(name="w", capability="dashboard_widget")
BOTH = frozenset({"search", "dashboard_widget"})
SINCE = "2026-01-15T14:02:00.000000Z"


def instance(problem: str | None = None, left_behind: bool = False, status: str = "ok", **document: Any) -> Instance:
    manifest = SimpleNamespace(queries=(SEARCH, WIDGET))
    hooks = frozenset({"mosaicfs_query"})
    plugin: Any = SimpleNamespace(manifest=manifest, hooks=hooks, status=status, error="left out here")
    given: Any = {"plugin_name": "fulltext", **document}
    return Instance("fulltext", "fulltext", given, {}, plugin, problem, SimpleNamespace(), left_behind)  # type: ignore[arg-type]


def uninstalled(left_behind: bool = False) -> Instance:
    document = {"plugin_name": "fulltext", "answers": ["dashboard_widget", "search"]}
    problem, context = "no plugin fulltext is installed", SimpleNamespace()
    return Instance("fulltext", "fulltext", document, {}, None, problem, context, left_behind)  # type: ignore[arg-type]


def working(problem: str | None = None) -> Any:
    return SimpleNamespace(problem=problem)


def test_one_that_works_lacks_nothing_also_while_it_is_paused() -> None:
    for one in (instance(), instance(paused=True)):
        offer = offer_of(one, working(), (), {})
        assert (offer.endpoints, offer.lacking) == ((SEARCH, WIDGET), frozenset())


@pytest.mark.parametrize(
    ("one", "running", "reason", "detail"),
    [
        (instance(), None, "starting", "it is being started"),
        (instance(), working("it ended"), "down", "it does not work at present: it ended"),
        (instance("setting x: wrong"), None, "broken", "it cannot run: setting x: wrong"),
        (uninstalled(), None, "broken", "it cannot run: no plugin fulltext is installed"),
    ],
    ids=["begins", "down", "wrong settings", "uninstalled"],
)
def test_whatever_is_in_the_way_of_one_that_is_wanted_is_told(
    one: Instance, running: Any, reason: str, detail: str
) -> None:
    offer = offer_of(one, running, (), {})
    assert (offer.endpoints, offer.lacking, offer.reason, offer.detail) == ((), BOTH, reason, detail)


def test_what_it_took_back_is_lacking_in_its_own_words() -> None:
    offer = offer_of(instance(), working(), {"search"}, {"status": "degraded", "detail": "the index is damaged"})
    assert (offer.endpoints, offer.lacking, offer.reason) == ((WIDGET,), {"search"}, "withdrawn")
    assert offer.detail == "it cannot answer this at present: the index is damaged"
    offer = offer_of(instance(), working(), {"search"}, {"status": "healthy", "detail": "12 documents"})
    assert offer.detail == "it says that it cannot answer this at present"


@pytest.mark.parametrize(
    "one",
    [instance(enabled=False), instance(status="disabled"), uninstalled(left_behind=True)],
    ids=["switched off", "left out here", "left behind"],
)
def test_what_is_not_to_run_lacks_nothing(one: Instance) -> None:
    assert offer_of(one, None, (), {}) == Offer()


def node(**fields: Any) -> dict[str, Any]:
    return {"node_id": "n", "friendly_name": "laptop", **fields}


def services(offered: set[str], lacking: dict[tuple[str, str], str] | None) -> Any:
    return SimpleNamespace(capabilities=lambda: sorted(offered), lacking=lacking)


def test_what_is_lacking_is_so_since_the_first_time_and_goes_with_its_cause() -> None:
    down = {("search", "fulltext"): "down"}
    first = with_capabilities(services({"relay"}, down), node(capabilities=["relay", "search"]))
    assert first["capabilities"] == ["relay"]
    (entry,) = first["lacking"]
    assert (entry["capability"], entry["plugin_name"], entry["reason"]) == ("search", "fulltext", "down")
    earlier = node(capabilities=[], lacking=[{**entry, "since": SINCE}])
    assert with_capabilities(services(set(), {("search", "fulltext"): "broken"}), earlier)["lacking"] == [
        {**entry, "since": SINCE, "reason": "broken"}
    ]
    assert with_capabilities(services({"search"}, {}), earlier) == node(capabilities=["search"])


def test_a_node_that_begins_takes_back_nothing_before_it_knows_its_plugins() -> None:
    lack = {"capability": "b", "plugin_name": "p", "reason": "down", "since": SINCE}
    before = node(capabilities=["search"], lacking=[lack])
    assert with_capabilities(services({"relay"}, None), before) == {**before, "capabilities": ["relay", "search"]}
    assert with_capabilities(services(set(), None), node()) == node(capabilities=[])
