"""Protects stored bodies: whatever JSON a document holds comes back equal, spread over columns or not."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core import documents
from mosaicfs_core.store import Store, crawl_queries, indexes, rows, schema
from mosaicfs_core.store.numbering import Numbering
from mosaicfs_core.store.revisions import encode
from mosaicfs_core.testing.store import NODE, annotation, assignment, file_document, rule

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..") and not any(ord(letter) >= 0x10FF00 for letter in name)
)
FILES = st.builds(
    lambda parts, size, mtime, extra: file_document("/" + "/".join(parts), size=size, mtime=mtime, **extra),
    st.lists(NAMES, min_size=1, max_size=4),
    st.integers(0, 2**53 - 1),
    st.integers(-(10**16), 10**17),
    st.fixed_dictionaries(
        {},
        optional={
            "mime_type": st.sampled_from(["text/plain", "image/png"]),
            "status": st.sampled_from(["active", "deleted"]),
            "inode": st.integers(1000, 2**53 - 1),
            "moved_from": st.just("/old"),
            "deleted_at": st.just("2026-02-16T09:22:00.000000Z"),
            "provider": st.just("mail"),
            "later": JSON,
        },
    ),
)


def numbering() -> Numbering:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.prepare(connection)
    return Numbering(connection)


@settings(deadline=None, max_examples=300)
@given(FILES)
def test_a_file_comes_back_from_its_columns(document: dict[str, Any]) -> None:
    documents.validate(document)
    body = {key: value for key, value in document.items() if key != "_id"}
    numbers = numbering()
    id_hash = rows.hash_of(document["_id"])
    facts = rows.file_facts(rows.file_parts(body, id_hash, lambda: encode(body)), numbers)
    parts = rows.split_id(document["_id"])
    assert parts is not None
    row = (1, id_hash, 1, numbers.node(parts[0]), parts[1], 1, 1, b"", facts.flags, *facts[1:8], None)
    back = rows.body_of(row, numbers)
    assert encode(back) == encode(body)
    assert rows.id_of(row, numbers) == document["_id"]


def test_odd_bodies_are_kept_whole() -> None:
    numbers = numbering()
    for odd in ({"mime_type": None}, {"source": {**file_document("/a")["source"], "volume": "x"}}):
        body = {key: value for key, value in {**file_document("/a"), **odd}.items() if key != "_id"}
        facts = rows.file_facts(rows.file_parts(body, 5, lambda body=body: encode(body)), numbers)
        assert facts.flags & schema.WHOLE
        assert facts.extra == encode(body)


def test_derived_inodes_agree_with_the_documents_package() -> None:
    for number in range(200):
        identifier = f"file::node-a::{number}"
        assert rows.inode_of(rows.hash_of(identifier)) == documents.derived_inode(identifier)


def test_only_usual_file_ids_are_split() -> None:
    usual = file_document("/a")["_id"]
    assert rows.split_id(usual) is not None
    assert rows.split_id(usual.upper()) is None
    assert rows.split_id(usual[:-1] + "G") is None
    assert rows.split_id("".join(usual.rsplit("-", 1))) is None
    assert rows.split_id("file::x") is None


def test_index_keys() -> None:
    found = indexes.keys("label_assignment", "x", assignment("/a", "red", "blue"))
    assert (indexes.KINDS["label_assignment"], "node-desk-aaaa", "/a", "") in found
    assert (indexes.KINDS["label_assignment.label"], "red", "node-desk-aaaa", "/a") in found
    assert len(indexes.keys("label_rule", "x", rule("/p/", "red"))) == 2
    assert len(indexes.keys("annotation", "x", annotation("/a", "sum", {}))) == 2
    assert indexes.keys("file", "x", file_document("/a")) == set()
    assert indexes.keys("future", "future::1", {}) == {(indexes.OTHER, "future", "future::1", "")}


@pytest.mark.parametrize(("claimed", "believed"), [(0, True), (1, True), (15, True), (16, False), (-1, False)])
async def test_an_inode_that_a_node_chose_counts_for_nothing(tmp_path: Path, claimed: int, believed: bool) -> None:
    """The document keeps it; whoever lists files never sees it."""
    document = file_document("/a/b")
    document["inode"] += claimed
    async with await Store.open(tmp_path / "replica.db") as store:
        await store.put(document)
        row = store.reader.file_by_path(NODE, "/a/b")
        assert row is not None
        shown = document["inode"] if believed else documents.derived_inode(document["_id"])
        assert row.inode == shown
        assert [one.inode for one in store.reader.files_in(row.dir)] == [shown]
        assert [one.inode for one in store.reader.changes_since(0)] == [shown]
        assert (await store.get(document["_id"]) or {})["inode"] == document["inode"]
        taken = crawl_queries.taken_inodes(store.reader, [document["inode"]])
        assert taken == ({document["inode"]} if believed else set())
