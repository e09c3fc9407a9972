"""Protects the whole store against a model of it that is too simple to be wrong: every edit by every way, reopening and
compaction in between, and everything that can be asked of it compared after each step."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mosaicfs_core.documents import parent_of
from mosaicfs_core.errors import Conflict, Stale
from mosaicfs_core.hooks.context import FileQuery
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import file_document

PATHS = ["/a/Report.pdf", "/a/report 2.txt", "/a/b/ab", "/a/b/Straße", "/x", "/a/B/ab", "/q/r/s/t%_.pdf"]
TEXTS = ["report", "RE", "a", "ab", "*.pdf", "r*t*", "ss", "%_", "ß", "nothing", "?b"]

Rev = tuple[int, str]


class Known:
    """One document of the model: every revision ever seen, its parent, whether it was a tombstone, and its body."""

    def __init__(self) -> None:
        self.revs: dict[Rev, tuple[Rev | None, bool, dict[str, Any]]] = {}

    def leaves(self) -> list[Rev]:
        parents = {parent for parent, _, _ in self.revs.values()}
        found = [rev for rev in self.revs if rev not in parents]
        return sorted(found, key=lambda rev: (not self.revs[rev][1], rev), reverse=True)

    def path(self, rev: Rev) -> list[Rev]:
        found: list[Rev] = []
        at: Rev | None = rev
        while at is not None:
            found.append(at)
            at = self.revs[at][0]
        return found

    def live(self) -> dict[str, Any] | None:
        if not self.revs:
            return None
        top = self.leaves()[0]
        return None if self.revs[top][1] else self.revs[top][2]


def text(rev: Rev) -> str:
    return f"{rev[0]}-{rev[1]}"


def parse(rev: str) -> Rev:
    number, _, digest = rev.partition("-")
    return int(number), digest


class StoreMachine(RuleBasedStateMachine):
    """Documents are files at a few paths; ``order`` holds ids by their latest change."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "replica.db"
        self.store = self.runner.run(Store.open(self.path))
        self.known: dict[str, Known] = {}
        self.order: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
            self.runner.close()
            self.folder.cleanup()

    def note(self, identifier: str, rev: Rev, parent: Rev | None, deleted: bool, body: dict[str, Any]) -> None:
        self.known.setdefault(identifier, Known()).revs[rev] = (parent, deleted, body)
        self.order = [one for one in self.order if one != identifier] + [identifier]

    @rule(path=st.sampled_from(PATHS), size=st.integers(0, 9), status=st.sampled_from(["active", "active", "deleted"]))
    def put_without_revision(self, path: str, size: int, status: str) -> None:
        document = file_document(path, size=size, status=status)
        known = self.known.get(document["_id"], Known())
        if known.live() is not None:
            with pytest.raises(Conflict):
                self.runner.run(self.store.put(document))
            return
        rev = parse(self.runner.run(self.store.put(document)))
        parent = known.leaves()[0] if known.revs else None
        assert rev[0] == (1 if parent is None else parent[0] + 1)
        self.note(document["_id"], rev, parent, False, document)

    @precondition(lambda self: self.known)
    @rule(
        data=st.data(), size=st.integers(10, 19), deleted=st.booleans(), status=st.sampled_from(["active", "deleted"])
    )
    def edit_a_revision(self, data: st.DataObject, size: int, deleted: bool, status: str) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[identifier]
        parent = data.draw(st.sampled_from(sorted(known.revs)))
        path = next(path for path in PATHS if file_document(path)["_id"] == identifier)
        document = file_document(path, size=size, status=status, _rev=text(parent))
        if deleted:
            document = {"_id": identifier, "_rev": text(parent), "_deleted": True, "type": "file"}
        if parent not in known.leaves():
            with pytest.raises(Stale):
                self.runner.run(self.store.put(document))
            return
        rev = parse(self.runner.run(self.store.put(document)))
        assert rev[0] == parent[0] + 1
        body = {key: value for key, value in document.items() if key not in ("_rev", "_deleted")}
        self.note(identifier, rev, parent, deleted, body)

    @rule(data=st.data(), path=st.sampled_from(PATHS), size=st.integers(20, 29), deleted=st.booleans())
    def replicate_a_branch(self, data: st.DataObject, path: str, size: int, deleted: bool) -> None:
        document = file_document(path, size=size)
        known = self.known.get(document["_id"], Known())
        base = data.draw(st.none() | st.sampled_from(sorted(known.revs)) if known.revs else st.none())
        revs = [] if base is None else known.path(base)
        for _ in range(data.draw(st.integers(1, 3))):
            choice = data.draw(st.integers(0, 1))
            above = revs[0] if revs else None
            digest = hashlib.md5(f"{above}{choice}".encode()).hexdigest()
            revs.insert(0, (1 if above is None else above[0] + 1, digest))
        body = {"_id": document["_id"], "type": "file"} if deleted else document
        sent = {
            **body,
            "_rev": text(revs[0]),
            "_revisions": {"start": revs[0][0], "ids": [digest for _, digest in revs]},
        }
        if deleted:
            sent["_deleted"] = True
        (result,) = self.runner.run(self.store.bulk([sent], new_edits=False))
        assert result.error is None
        if revs[0] in known.revs:
            return
        above = [*revs[1:], None]
        for rev, parent in zip(revs[1:], above[1:], strict=True):
            if rev not in known.revs:
                self.note(document["_id"], rev, parent, False, {})
        self.note(document["_id"], revs[0], above[0], deleted, body)

    @rule(sizes=st.dictionaries(st.sampled_from(PATHS), st.integers(30, 39), min_size=2))
    def write_in_bulk(self, sizes: dict[str, int]) -> None:
        made = [file_document(path, size=size) for path, size in sizes.items()]
        results = self.runner.run(self.store.bulk(made))
        for document, result in zip(made, results, strict=True):
            known = self.known.get(document["_id"], Known())
            if known.live() is not None:
                assert isinstance(result.error, Conflict)
            else:
                assert result.rev is not None
                parent = known.leaves()[0] if known.revs else None
                self.note(document["_id"], parse(result.rev), parent, False, document)

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(Store.open(self.path))

    @rule()
    def compact(self) -> None:
        self.runner.run(self.store.compact())

    def shown(self) -> list[dict[str, Any]]:
        live = [body for known in self.known.values() if (body := known.live()) is not None]
        return [body for body in live if body["status"] == "active"]

    @invariant()
    def documents_agree(self) -> None:
        reader = self.store.reader
        for identifier, known in self.known.items():
            leaves = known.leaves()
            tree = reader.tree(identifier)
            assert tree is not None
            assert set(tree.parents) == set(known.revs)
            live = known.live()
            got = reader.get(identifier)
            assert got == (None if live is None else {**live, "_rev": text(leaves[0])})
            assert reader.conflicts(identifier) == [text(rev) for rev in leaves[1:] if not known.revs[rev][1]]
            for rev in leaves:
                leaf = reader.get_revision(identifier, text(rev))
                deleted = {"_deleted": True} if known.revs[rev][1] else {}
                assert leaf == {**known.revs[rev][2], "_rev": text(rev), **deleted}

    @invariant()
    def changes_agree(self) -> None:
        changes = self.store.reader.changes(0, 100)
        assert [change.id for change in changes] == self.order
        assert sorted({change.seq for change in changes}) == [change.seq for change in changes]
        for change in changes:
            assert list(change.revs) == [text(rev) for rev in self.known[change.id].leaves()]
        info = self.store.reader.info()
        live = sum(known.live() is not None for known in self.known.values())
        assert sum(figures["live"] for figures in info.types.values()) == live
        assert sum(figures["deleted"] for figures in info.types.values()) == len(self.known) - live

    @invariant()
    def directories_agree(self) -> None:
        direct: Counter[str] = Counter(body["source"]["export_parent"] for body in self.shown())
        below: Counter[str] = Counter()
        for path, count in direct.items():
            at = path
            while True:
                below[at] += count
                if at == "/":
                    break
                at = parent_of(at)
        rows = self.store.reader.directory_parents()
        found = [self.store.reader.directory_by_no(number) for number, _ in rows]
        for row in found:
            assert row is not None
            assert (row.direct, row.below) == (direct[row.path], below[row.path])
        assert set(below) <= {row.path for row in found if row is not None}
        listed = [file.export_path for row in found if row is not None for file in self.store.reader.files_in(row.dir)]
        assert sorted(listed) == sorted(body["source"]["export_path"] for body in self.shown())

    @invariant()
    def searches_agree(self) -> None:
        names = [body["name"] for body in self.shown()]
        for wanted in TEXTS:
            page = self.store.reader.search(FileQuery(text=wanted))
            assert sorted(item.name for item in page.items) == sorted(name for name in names if by_hand(wanted, name))


def by_hand(wanted: str, name: str) -> bool:
    """What a search text means, said once more without any index."""
    wanted, name = wanted.casefold(), name.casefold()
    if not set("*?") & set(wanted):
        return wanted in name
    if not wanted:
        return not name
    if wanted[0] == "*":
        return any(by_glob(wanted[1:], name[start:]) for start in range(len(name) + 1))
    return by_glob(wanted, name)


def by_glob(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(by_glob(pattern[1:], name[start:]) for start in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and by_glob(pattern[1:], name[1:])


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
