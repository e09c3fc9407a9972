"""Protects what a reader must not see: whatever it asks, the answer does not depend on what is hidden from it.

Two replicas hold the same visible documents and differ in everything that is hidden: other documents, other secrets,
other bodies behind the same revisions. Any request must be answered alike by both, to the byte.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DB = "/db/mosaicfs"
VARIANTS = ("alpha", "beta")
READERS = ("user", "node")
FIELDS = (
    "_id",
    "_rev",
    "type",
    "node_id",
    "name",
    "note",
    "settings",
    "settings.password",
    "settings.port",
    "config.token",
    "secret_key_hash",
    "signing_key",
    "enabled",
    "source.node_id",
    "labels",
)


def digest(*parts: object) -> str:
    return md5(repr(parts).encode(), usedforsecurity=False).hexdigest()


def revision(document: dict[str, Any], *path: str, deleted: bool = False) -> dict[str, Any]:
    """The document at a revision of its own, with its history, newest first."""
    made = {**document, "_rev": f"{len(path)}-{path[0]}", "_revisions": {"start": len(path), "ids": list(path)}}
    return {**made, "_deleted": True} if deleted else made


def visible(samples: Any, reader: str) -> list[dict[str, Any]]:
    """Documents in the reader's flow, the same in both replicas; with conflicts and tombstones."""
    types = {
        "user": "virtual_directory node agent_status label_assignment label_rule notification",
        "node": "file virtual_directory node credential label_assignment label_rule annotation notification",
    }[reader].split()
    made = []
    for node_id in (samples.node, samples.other):
        for document in [samples.documents(node_id)[name] for name in types]:
            one, two = digest(document["_id"]), digest(document["_id"], 2)
            made += [revision(document, one), revision(document, two, one), revision(document, digest(two, 3), one)]
    if reader == "node":
        gone = samples.file(77)
        kept = {"_id": gone["_id"], "type": "file", "source": gone["source"]}
        made += [
            revision(kept, digest(77), deleted=True),
            revision(samples.documents(samples.node)["plugin"], "a" * 32),
        ]
    return made


def hidden(samples: Any, reader: str, variant: str) -> list[dict[str, Any]]:
    """What the reader must not learn of, another in each replica: as many documents, so that sequences agree."""
    mine, others = samples.documents(samples.node), samples.documents(samples.other)
    made = [
        {"_id": f"_design/{variant}", "note": variant},
        {"_id": f"thing::{variant}", "type": "thing", "note": variant},
        {"_id": variant, "type": "file", "note": variant},
        {**others["utilization_snapshot"], "note": variant},
    ]
    if reader == "user":
        number = 100 + len(variant)
        made += [samples.file(number), mine["credential"] | {"secret_key_hash": variant}, mine["annotation"]]
        made += [{**mine["annotation"], "_id": f"{mine['annotation']['_id']}@{variant}", "note": variant}]
    else:
        made += [others["plugin"], others["agent_status"], {**others["plugin"], "_id": f"plugin::{variant}::x"}]
        made += [{**others["agent_status"], "_id": f"status::{variant}"}]
    documents = []
    for document in made:
        first, second = digest(document["_id"], variant), digest(document["_id"], variant, 2)
        body = {**document, "note": variant}
        documents += [revision(body, first), revision(body, second, first), revision(body, digest(second), first)]
    return documents


def behind_visible_revisions(samples: Any, reader: str, variant: str) -> list[dict[str, Any]]:
    """Documents whose id and revisions the reader knows, and whose body, or a part of it, it must not."""
    mine, others = samples.documents(samples.node), samples.documents(samples.other)
    secrets = {"settings": {"password": variant, "port": 993}, "config": {"token": variant}}
    credential = {**mine["credential"], "secret_key_hash": variant, "signing_key": variant, "note": variant}
    made = []
    if reader == "user":
        plugin = {**mine["plugin"], **secrets}
        made += [revision(plugin, "b" * 32), revision({**plugin, "paused": True}, "c" * 32, "b" * 32)]
        made += [revision({**others["plugin"], **secrets}, "d" * 32, deleted=True)]
        # It was shown once, and then somebody made nonsense of it.
        made += [revision({**mine["label_rule"], "labels": variant}, "9" * 32, digest(mine["label_rule"]["_id"]))]
    else:
        disabled = {**credential, "_id": credential["_id"][:-4] + "0000", "enabled": False}
        disabled["access_key_id"] = disabled["_id"].partition("::")[2]
        made += [revision(disabled, "e" * 32), revision({**disabled, "name": "x"}, "f" * 32)]
        made += [revision({**credential, "_id": credential["_id"][:-4] + "1111"}, "5" * 32, deleted=True)]
        made += [revision({**mine["plugin"], **secrets, "node_id": samples.other}, "4" * 32, "a" * 32)]
    strayed = {**credential, "_id": "dir::" + "0" * 64}
    made += [revision(strayed, "6" * 32), revision(strayed, "7" * 32, "6" * 32)]
    made += [revision({**strayed, "_id": "dir::" + "1" * 64}, "8" * 32, deleted=True)]
    return made


class Pair:
    """Two instances, and what may be asked of them."""

    def __init__(self, instances: list[Any], reader: str, documents: list[dict[str, Any]]) -> None:
        self.instances = instances
        self.reader = reader
        self.ids = [*sorted({document["_id"] for document in documents}), "none", "dir::root"]
        self.revs = [*sorted({document["_rev"] for document in documents}), "1-" + "0" * 32, "x"]

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """The one answer of both."""
        answers = []
        for instance in self.instances:
            given = {} if body is None else {"json": body}
            headers = {"X-Test-Principal": self.reader}
            answer = await instance.ask(method, DB + path, token=None, headers=headers, **given)
            answers.append((answer.status_code, await answer.get_data(), answer.headers.get("ETag")))
        assert answers[0] == answers[1], (method, path, body)
        return answers[0][0], answers[0][1]


@pytest.fixture(params=READERS)
async def pair(
    request: pytest.FixtureRequest, tmp_path: Path, start_instance: Callable[[Path], Any], principals: Any, samples: Any
) -> AsyncIterator[Pair]:
    reader = request.param
    everything: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        instances = []
        for variant in VARIANTS:
            home = tmp_path / variant
            home.mkdir()
            (home / "node_id").write_text("node-test-aaaa")
            instance = await stack.enter_async_context(start_instance(home))
            made = hidden(samples, reader, variant)
            documents = [
                *made[:6],
                *visible(samples, reader),
                *made[6:],
                *behind_visible_revisions(samples, reader, variant),
            ]
            await instance.harness.store.bulk(samples.keys())
            results = await instance.harness.store.bulk(documents, new_edits=False)
            assert not [result for result in results if result.error]
            await instance.harness.store.local_put("hub:MOSAICFS_fedcba9876543210/checkpoint", {"seq": variant})
            everything += documents
            instances.append(instance)
        yield Pair(instances, reader, everything)


def selectors(pair: Pair) -> st.SearchStrategy[dict[str, Any]]:
    values = st.one_of(
        st.sampled_from([*VARIANTS, *pair.ids, *pair.revs, {"set": True}, 993, True, None, "plugin", "credential"])
    )
    conditions = st.one_of(
        values,
        values.map(lambda value: {"$gt": value}),
        values.map(lambda value: {"$lte": value}),
        values.map(lambda value: {"$ne": value}),
        st.booleans().map(lambda there: {"$exists": there}),
        st.sampled_from(["^a", "^b", "e", "::"]).map(lambda pattern: {"$regex": pattern}),
    )
    fields = st.dictionaries(st.sampled_from(FIELDS), conditions, max_size=2)
    return st.recursive(
        fields,
        lambda inner: st.one_of(
            inner.map(lambda one: {"$not": one}), st.lists(inner, max_size=2).map(lambda some: {"$or": some})
        ),
        max_leaves=3,
    )


def requests_of(pair: Pair) -> st.SearchStrategy[tuple[str, str, Any]]:
    """Any question that the protocol knows."""
    one, rev = st.sampled_from(pair.ids), st.sampled_from(pair.revs)
    some, revs = st.lists(one, max_size=6), st.lists(rev, max_size=4)
    flag = st.sampled_from(["true", "false"])
    number = st.integers(0, 200).map(str)

    def query(**params: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.fixed_dictionaries({}, optional=params).map(urlencode)

    def asked(method: str, path: str, params: st.SearchStrategy[str], body: st.SearchStrategy[Any]) -> Any:
        return st.tuples(st.just(method), params.map(lambda text: f"{path}?{text}"), body)

    def quoted(identifiers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return identifiers.map(json.dumps)

    nothing = st.none()
    feed = st.sampled_from(["normal", "longpoll&timeout=0", "continuous&timeout=0", "eventsource&timeout=0"])
    listing = query(
        include_docs=flag,
        conflicts=flag,
        startkey=quoted(one),
        endkey=quoted(one),
        limit=number,
        skip=number,
    )
    changes = query(since=number, limit=number, style=st.sampled_from(["all_docs", "main_only"]), include_docs=flag)
    single = query(
        rev=rev,
        open_revs=st.one_of(st.just("all"), revs.map(json.dumps)),
        revs=flag,
        latest=flag,
        meta=flag,
        local_seq=flag,
        attachments=flag,
    )
    return st.one_of(
        st.tuples(
            st.just("GET"), st.tuples(feed, changes).map(lambda parts: f"/_changes?feed={parts[0]}&{parts[1]}"), nothing
        ),
        asked("POST", "/_changes", changes.map(lambda text: f"filter=_doc_ids&{text}"), some.map(_doc_ids)),
        asked(
            "POST", "/_changes", changes.map(lambda text: f"filter=_selector&{text}"), selectors(pair).map(_selector)
        ),
        asked("GET", "/_all_docs", listing, nothing),
        asked("POST", "/_all_docs", listing, some.map(lambda keys: {"keys": keys})),
        st.tuples(
            st.just("POST"),
            st.just("/_find"),
            st.builds(
                lambda selector, limit, skip: {"selector": selector, "limit": limit, "skip": skip},
                selectors(pair),
                st.integers(0, 50),
                st.integers(0, 3),
            ),
        ),
        asked(
            "POST",
            "/_bulk_get",
            query(revs=flag, latest=flag, attachments=flag),
            st.lists(
                st.one_of(one.map(lambda i: {"id": i}), st.builds(lambda i, r: {"id": i, "rev": r}, one, rev)),
                max_size=6,
            ).map(lambda docs: {"docs": docs}),
        ),
        st.builds(lambda i, text: ("GET", f"/{quote(i, safe='')}?{text}", None), one, single),
        st.tuples(st.just("POST"), st.just("/_revs_diff"), st.dictionaries(one, revs, max_size=5)),
        st.tuples(st.just("POST"), st.just("/_missing_revs"), st.dictionaries(one, revs, max_size=5)),
        st.sampled_from(["checkpoint", "hub:MOSAICFS_fedcba9876543210/checkpoint", "../x", "moves"]).map(
            lambda name: ("GET", f"/_local/{quote(name, safe='')}", None)
        ),
    )


def _doc_ids(ids: list[str]) -> dict[str, Any]:
    return {"doc_ids": ids}


def _selector(selector: dict[str, Any]) -> dict[str, Any]:
    return {"selector": selector}


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
async def test_no_answer_depends_on_what_is_hidden(pair: Pair, data: st.DataObject) -> None:
    method, path, body = data.draw(requests_of(pair))
    status, answer = await pair.ask(method, path, body)
    assert status < 500
    for variant in VARIANTS:
        if variant not in path and variant not in json.dumps(body):
            assert variant.encode() not in answer


async def test_the_two_replicas_do_differ_and_the_reader_does_see_something(pair: Pair) -> None:
    everything = []
    for instance in pair.instances:
        answer = await instance.ask("GET", f"{DB}/_changes?include_docs=true")
        everything.append(await answer.get_data())
    assert everything[0] != everything[1]
    assert all(variant.encode() in text for variant, text in zip(VARIANTS, everything, strict=True))
    _, shown = await pair.ask("GET", "/_changes?include_docs=true&style=all_docs")
    rows = json.loads(shown)["results"]
    assert len(rows) > 15
    removed = [row["id"] for row in rows if row.get("deleted")]
    assert "dir::" + "0" * 64 in removed  # it strayed, and reaches the reader as a removal
    assert any(len(row["changes"]) > 1 for row in rows)


async def test_figures_do_not_tell_either(pair: Pair) -> None:
    figures = []
    for instance in pair.instances:
        answer = await instance.ask("GET", DB, token=None, headers={"X-Test-Principal": pair.reader})
        found = json.loads(await answer.get_data())
        figures.append({key: value for key, value in found.items() if key not in ("uuid", "instance_start_time")})
    assert figures[0] == figures[1]
    assert figures[0]["doc_count"] > 0
