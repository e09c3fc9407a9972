"""Protects speed at scale: no statement that reading or writing runs goes through a whole table.

A workout calls every method; each statement it runs is caught and its plan asked for.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from mosaicfs_core.documents import new_uuid
from mosaicfs_core.hooks.context import FileQuery
from mosaicfs_core.store import Reader, Store, crawl_queries
from mosaicfs_core.testing.store import EPOCH, NODE, annotation, assignment, file_document, rule

# Not ``leaves``: it holds the losing sides of conflicts alone.
BIG = {"documents", "d", "directories", "p", "x", "lookup", "l", "inodes", "i", "file_identity", "quarantine"}


def scans(connection: sqlite3.Connection, sql: str) -> list[str]:
    """The steps of a statement's plan that go through a table of documents from end to end."""
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql)]
    return [step for step in plan if (match := re.match(r"SCAN (\S+)", step)) and match[1] in BIG]


def statements(connection: sqlite3.Connection, run: Callable[[], object]) -> set[str]:
    seen: set[str] = set()
    connection.set_trace_callback(seen.add)
    run()
    connection.set_trace_callback(None)
    return {sql for sql in seen if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", sql)}


def read_everything(reader: Reader) -> None:
    file = file_document("/a/1")
    row = reader.file_by_path(NODE, "/a/1")
    assert row is not None
    reader.seq(), reader.info(), reader.get(file["_id"]), reader.get_many([file["_id"]]), reader.conflicts(file["_id"])
    reader.conflicted(), reader.quarantined(), reader.documents([1, 2]), reader.get_by_inode(row.inode)
    reader.get_or_tombstone(file["_id"]), reader.counts_of("label_assignment.label")
    reader.changes(3, 10, include_docs=True), reader.changes_since(3, 10), reader.local_get("x")
    reader.directory(NODE, "/a"), reader.directory_by_no(2), reader.subdirectories(1), reader.files_in(2)
    reader.directories_under(NODE, "/a"), reader.directories_under(NODE, "/", after="/a"), reader.inactive_files_in(2)
    reader.file_by_path(NODE, "/a/2", deleted=True), reader.file_by_id(row.file_id)
    reader.file_rows([1]), reader.files_by_identity(1, 2), reader.identities([1]), reader.next_mtime(EPOCH)
    list(reader.directory_parents()), list(reader.scan_files())
    list(reader.scan_files("size >= ? AND mime_type = ?", (5, "text/plain"), 1))
    reader.effective_labels([(NODE, "/a/1")])
    for index, key in (("label_assignment", (NODE,)), ("label_rule", ()), ("annotation", (NODE, "/a/1", "sum"))):
        reader.documents_of(index, key), reader.count_of(index, key), list(reader.iter_documents(index, key))
    crawl_queries.directory_contents(reader, NODE, "/a")
    crawl_queries.named_files(reader, NODE, "/a", ["1", "2"])
    crawl_queries.taken_inodes(reader, [row.inode])
    crawl_queries.identity_matches(reader, [(1, 2)])
    crawl_queries.files_alike(reader, "1", 1, EPOCH)


QUERIES = (
    FileQuery(),
    FileQuery(text="report"),
    FileQuery(text="a"),
    FileQuery(text="*.pdf", path_prefix="/a", node_id=NODE, mime_type="text/*"),
    FileQuery(node_id=NODE),
    FileQuery(path_prefix="/a"),
    FileQuery(export_path="/a/1"),
    FileQuery(labels=("red",)),
    FileQuery(annotations={"sum/kind": "x"}),
    FileQuery(mime_type="text/plain"),
    FileQuery(modified_after=EPOCH),
    FileQuery(min_size=20 << 20),
    FileQuery(status="deleted"),
    FileQuery(status=None, limit=1),
)


async def filled(path: Path) -> Store:
    store = await Store.open(path)
    made = [
        file_document(f"/{'ab'[number % 2]}/{number}", size=number << 20, mime_type="text/plain")
        for number in range(60)
    ]
    made += [file_document("/a/1"), file_document("/a/gone", status="deleted"), rule("/a/", "red", uuid=new_uuid())]
    made += [assignment("/a/1", "red"), annotation("/a/1", "sum", {"kind": "x"})]
    assert all(result.error is None for result in await store.bulk(made) if "/a/1" not in result.id)
    return store


async def test_no_read_goes_through_a_table(tmp_path: Path) -> None:
    store = await filled(tmp_path / "replica.db")
    reader = Reader.open(tmp_path / "replica.db")
    connection = reader._connection
    seen = statements(connection, lambda: read_everything(reader))
    for query in QUERIES:
        seen |= statements(connection, lambda query=query: reader.search(query))
    assert len(seen) > 40
    assert {sql: found for sql in seen if (found := scans(connection, sql))} == {}
    reader.close()
    await store.close()


async def test_no_write_goes_through_a_table(tmp_path: Path) -> None:
    store = await filled(tmp_path / "replica.db")
    connection = store._writer._connection
    document = file_document("/a/1", size=7)
    seen: set[str] = set()
    connection.set_trace_callback(seen.add)
    await store.update(document["_id"], lambda current: {**(current or {}), "size": 9, "name": "1"})
    await store.update(document["_id"], lambda current: {**(current or {}), "inode": 5000, "mtime": document["mtime"]})
    await store.transaction(lambda tx: tx.set_identity(document["_id"], 1, 2))
    await store.put(assignment("/b/3", "blue"))
    history = {"_rev": "2-" + "f" * 32, "_revisions": {"start": 2, "ids": ["f" * 32, "e" * 32]}}
    await store.bulk([{**document, **history}, {**file_document("/bad", size=-1), **history}], new_edits=False)
    await store.update(assignment("/b/3")["_id"], lambda current: {**(current or {}), "labels": [], "label_times": {}})
    connection.set_trace_callback(None)
    await store.close()
    plain = sqlite3.connect(tmp_path / "replica.db")
    ran = [sql for sql in seen if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", sql)]
    assert len(ran) > 10
    assert {sql: found for sql in ran if (found := scans(plain, sql))} == {}
    plain.close()
