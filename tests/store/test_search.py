"""Protects search: every filter and their combinations against a plain filter over all files, totals, and cursors that
walk through a result without losing or repeating a file."""

from __future__ import annotations

import json
import random
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks.context import FileQuery, FileRecord, Page
from mosaicfs_core.rules import FileFacts, NoLookup, annotation_data, compile_chain
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import EPOCH, NODE, annotation, assignment, file_document, rule

OTHER = "node-b-bbbb"
WORDS = ("Report", "photo", "ÄPFEL", "straße", "x", "100%_", "a[1]", "İstanbul")
MIMES = ("text/plain", "image/png", None)


def make(count: int) -> list[dict[str, Any]]:
    chance = random.Random(5)
    made = {}
    for number in range(count):
        folder = chance.choice(["/a", "/a/b", "/a/b/c", "/ab", "/z z"])
        path = f"{folder}/{chance.choice(WORDS)} {number}.{chance.choice(['pdf', 'TXT'])}"
        fields = {} if (mime := chance.choice(MIMES)) is None else {"mime_type": mime}
        status = "deleted" if chance.random() < 0.1 else "active"
        node = chance.choice([NODE, OTHER])
        size, mtime = chance.randrange(40 << 20), EPOCH + chance.randrange(1000)
        made[path] = file_document(path, node_id=node, size=size, mtime=mtime, status=status, **fields)
    return list(made.values())


FILES = make(600)
ASSIGNED = [file["source"] for file in FILES[::7]]
RULES = [rule("/a/b/", "red", "blue"), rule("/ab/", "red", node_id=OTHER), rule("/a/", "red", enabled=False)]
NOTED = [file["source"] for file in FILES[::5]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "replica.db")
    made = [assignment(place["export_path"], "red", "own", node_id=place["node_id"]) for place in ASSIGNED]
    data = ({"kind": "invoice", "deep": {"n": number % 3}} for number in range(len(NOTED)))
    made += [annotation(place["export_path"], "sum", next(data), node_id=place["node_id"]) for place in NOTED]
    results = await store.bulk([*FILES, *RULES, *made])
    assert all(result.error is None for result in results)
    yield store
    await store.close()


def labels_of(file: dict[str, Any]) -> set[str]:
    source = file["source"]
    found = {"red", "own"} if source in ASSIGNED else set()
    for one in RULES:
        covers = source["export_path"].startswith(one["path_prefix"]) and one["node_id"] in ("*", source["node_id"])
        found |= set(one["labels"]) if covers and one["enabled"] else set()
    return found


def expected(**wanted: Any) -> set[str]:
    """Export paths of the files that a query means, said without any index."""
    found = set()
    for file in FILES:
        source, name = file["source"], file["name"].casefold()
        number = NOTED.index(source) % 3 if source in NOTED else None
        prefix = wanted.get("path_prefix", "/").rstrip("/") + "/"
        tests = [
            wanted.get("text", "").casefold() in name,
            wanted.get("node_id", source["node_id"]) == source["node_id"],
            source["export_path"].startswith(prefix),
            wanted.get("mime_type", file.get("mime_type")) == file.get("mime_type"),
            set(wanted.get("labels", ())) <= labels_of(file),
            "annotations" not in wanted or number == 1,
            wanted.get("min_size", 0) <= file["size"] <= wanted.get("max_size", 2**60),
            wanted.get("status", "active") in (file["status"], None),
        ]
        if all(tests):
            found.add(source["export_path"])
    return found


QUERIES: list[dict[str, Any]] = [
    {},
    {"text": "report"},
    {"text": "REPORT 1"},
    {"text": "äpfel"},
    {"text": "STRASSE"},
    {"text": "ss"},
    {"text": "x"},
    {"text": "%_"},
    {"text": "i̇s"},
    {"text": "e", "node_id": NODE},
    {"text": "photo", "path_prefix": "/a/b", "labels": ("red",)},
    {"node_id": OTHER},
    {"node_id": "node-none"},
    {"path_prefix": "/a"},
    {"path_prefix": "/a/b/", "node_id": OTHER},
    {"mime_type": "text/plain"},
    {"mime_type": "text/plain", "min_size": 20 << 20},
    {"min_size": 17 << 20},
    {"min_size": 1, "max_size": 2 << 20},
    {"labels": ("red",)},
    {"labels": ("red", "own")},
    {"labels": ("blue",), "node_id": OTHER},
    {"labels": ("none",)},
    {"annotations": {"sum/deep.n": "1", "sum/kind": "~^inv"}},
    {"annotations": {"sum/deep.n": "1"}, "labels": ("own",), "text": "pdf"},
    {"status": "deleted"},
    {"status": "deleted", "text": "report"},
    {"status": None, "path_prefix": "/ab"},
]


@pytest.mark.parametrize("wanted", QUERIES, ids=str)
async def test_a_search_finds_what_it_means(store: Store, wanted: dict[str, Any]) -> None:
    page = store.reader.search(FileQuery(**wanted, limit=10_000))
    assert sorted(item.export_path for item in page.items) == sorted(expected(**wanted))
    assert (page.total, page.more, page.cursor) == (len(page.items), False, None)


@pytest.mark.parametrize("wanted", QUERIES, ids=str)
async def test_cursors_walk_through_everything_once(store: Store, wanted: dict[str, Any]) -> None:
    whole = store.reader.search(FileQuery(**wanted, limit=10_000))
    found: list[FileRecord] = []
    page: Page[FileRecord] | None = None
    while page is None or page.cursor is not None:
        page = store.reader.search(FileQuery(**wanted, limit=37, cursor=page.cursor if page else None))
        assert page.total == whole.total
        found += page.items
    assert tuple(found) == whole.items
    if len(found) > 40:
        assert store.reader.search(FileQuery(**wanted, offset=30, limit=5)).items == whole.items[30:35]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"value": "b"}, {"list", "text"}),
        ({"value": "3"}, {"number"}),
        ({"value": "true"}, {"truth"}),
        ({"regex": "^b"}, {"list", "text"}),
        ({"regex": "."}, {"list", "text", "number", "truth", "nothing"}),
        ({"value": ""}, set()),
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else str(value),
)
async def test_an_annotation_means_the_same_in_a_search_and_in_a_step(
    store: Store, asked: dict[str, str], found: set[str]
) -> None:
    """Failed ones do not count, one of the file's own node comes before another's, a list holds its elements."""
    values = {"list": ["a", "b"], "text": "b", "number": 3, "truth": True, "nothing": None, "failed": "b", "other": "z"}
    made = [annotation(f"/n/{name}", "tag", {"at": {"key": value}}) for name, value in values.items()]
    made[5] |= {"status": "failed"}
    made[6]["data"] = {}
    elsewhere = {**made[6], "_id": documents.annotation_id(NODE, "/n/other", "tag", OTHER), "annotated_by": OTHER}
    elsewhere["data"] = {"at": {"key": "b"}}
    results = await store.bulk([*made, elsewhere, *(file_document(f"/n/{name}") for name in values)])
    assert all(result.error is None for result in results)
    wanted = asked.get("value", f"~{asked.get('regex')}")
    page = store.reader.search(FileQuery(annotations={"tag/at.key": wanted}))
    assert {item.name for item in page.items} == found

    class Lookup(NoLookup):
        def annotation(self, facts: FileFacts, plugin_name: str, /) -> Mapping[str, Any] | None:
            key = (facts.node_id, facts.export_path, plugin_name)
            return annotation_data(facts.node_id, store.reader.documents_of("annotation", key))

    chain = compile_chain([{"op": "annotation", "plugin_name": "tag", "key": "at.key", **asked}], strict=True)
    facts = [FileFacts(NODE, f"/n/{name}", name, 1, 1) for name in values]
    assert {one.name for one in facts if chain.verdict(one, Lookup())} == found


async def test_a_glob_matches_the_whole_name(store: Store) -> None:
    page = store.reader.search(FileQuery(text="rep*.PDF", limit=1000))
    assert {item.export_path for item in page.items} == {
        path for path in expected(text="report") if path.lower().endswith(".pdf")
    }
    page = store.reader.search(FileQuery(text="a[[]1] ?.{pdf,txt}", limit=1000))
    names = [item.name for item in page.items]
    assert all(name.startswith("a[1] ") and len(name) == 10 for name in names)


@pytest.mark.parametrize("text", ["\0", "report\0", "rep\0ort*"])
async def test_no_name_holds_a_nul(store: Store, text: str) -> None:
    assert store.reader.search(FileQuery(text=text, status=None)).items == ()


async def test_by_export_path(store: Store) -> None:
    file = next(file for file in FILES if file["status"] == "active")
    path = file["source"]["export_path"]
    assert [item.name for item in store.reader.search(FileQuery(export_path=path)).items] == [file["name"]]
    assert store.reader.search(FileQuery(export_path=path, min_size=2**50)).total == 0


async def test_by_time(store: Store) -> None:
    page = store.reader.search(FileQuery(modified_after=EPOCH + 100, modified_before=EPOCH + 200, limit=1000))
    assert page.items
    assert [item.mtime for item in page.items] == sorted(item.mtime for item in page.items)
    assert all(EPOCH + 100 <= item.mtime <= EPOCH + 200 for item in page.items)
    everything = store.reader.search(FileQuery(limit=1000)).items
    assert len(page.items) == sum(EPOCH + 100 <= item.mtime <= EPOCH + 200 for item in everything)


async def test_a_total_is_exact_up_to_a_thousand(store: Store) -> None:
    await store.bulk([file_document(f"/many/{number}") for number in range(900)])
    page = store.reader.search(FileQuery(path_prefix="/many"))
    assert (page.total, page.more) == (900, False)
    await store.bulk([file_document(f"/many/{number}") for number in range(900, 1200)])
    page = store.reader.search(FileQuery(path_prefix="/many"))
    assert (page.total, page.more) == (1000, True)


@pytest.mark.parametrize(
    "wanted",
    [
        {"limit": -1},
        {"offset": -1},
        {"status": "gone"},
        {"cursor": "nonsense"},
        {"annotations": {"plain": "x"}},
        {"annotations": {"sum/kind": "~("}},
    ],
    ids=str,
)
async def test_nonsense_is_refused(store: Store, wanted: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        store.reader.search(FileQuery(**wanted))


@pytest.mark.parametrize("wanted", [{}, {"text": "report"}, {"export_path": "/a"}, {"labels": ("red",)}, {"text": "x"}])
@pytest.mark.parametrize(
    "cursor",
    [
        [0, [2**63], 0],
        [0, [-(2**63) - 1], 0],
        [0, [2**200], 0],
        [-5, [0], 0],
        [2**70, [0], 0],
        [0, [0], -1],
        [0, [0], 2**64],
        [0, [1, 2], 3],
        [0, [True], 0],
        [0, [None], 0],
        [0, [[]], 0],
        [0, [0, "", 0, 0], 0],
        [0, ["x", "x", "x"], 0],
        [0, [0, 0], 0],
        [0, 0, 0],
        [],
        {},
    ],
    ids=str,
)
async def test_a_cursor_that_no_search_has_given_out_is_refused(
    store: Store, wanted: dict[str, Any], cursor: object
) -> None:
    text = urlsafe_b64encode(json.dumps(cursor).encode()).decode()
    with pytest.raises(UserError, match="cursor: ") as refused:
        store.reader.search(FileQuery(**wanted, cursor=text))
    assert refused.value.details["field"] == "cursor"


async def test_effective_labels_of_few_files_among_many_rules(store: Store) -> None:
    await store.bulk([rule(f"/elsewhere/{number}/", "other") for number in range(200)])
    for file in FILES[:60]:
        place = (file["source"]["node_id"], file["source"]["export_path"])
        assert store.reader.effective_labels([place]) == [tuple(sorted(labels_of(file)))]


async def test_effective_labels(store: Store) -> None:
    places = [(file["source"]["node_id"], file["source"]["export_path"]) for file in FILES[:100]]
    assert store.reader.effective_labels(places) == [tuple(sorted(labels_of(file))) for file in FILES[:100]]
