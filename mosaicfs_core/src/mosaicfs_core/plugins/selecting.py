"""The files that selections hold, found once and then followed through the store: ``PluginContext.follow_files``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from mosaicfs_core.documents import times
from mosaicfs_core.documents.paths import join
from mosaicfs_core.hooks import SelectedFile, SelectedFiles, Selection, StepOp
from mosaicfs_core.plugins.selection import Rule, check_path
from mosaicfs_core.rules import FactsLookup, FileFacts
from mosaicfs_core.rules.tree import Tree
from mosaicfs_core.store import ChangeRow, FileRow, Reader, Store
from mosaicfs_core.store.lookup import ReplicaLookup, facts_of, lookup_for_scan

BATCH: Final = 1000
"""Files of one ``SelectedFiles``, and changes looked at in one go."""
AGES_EVERY_S: Final = 60.0
"""How often at most files are looked at again because time has passed."""


async def follow(
    store: Store,
    ops: Mapping[str, StepOp],
    selections: Mapping[str, Selection],
    *,
    now: Callable[[], int] = times.now_micros,
    ages_every_s: float = AGES_EVERY_S,
) -> AsyncGenerator[SelectedFiles, None]:
    """See ``PluginContext.follow_files``; ends when the store is closed."""
    followed = Followed(ops, selections, now)
    loop = asyncio.get_running_loop()
    files = await store.read(followed.begin)
    for batch in _batches(files):
        yield SelectedFiles(files=batch)
    yield SelectedFiles(complete=True, warnings=followed.warnings)
    looked = loop.time()
    while True:
        expires_at = followed.expires_at
        wait = None
        if expires_at is not None:
            wait = max((expires_at - now()) / 1_000_000, looked + ages_every_s - loop.time(), 0.0)
        await store.wait(followed.seq, wait)
        if store.closed:
            return
        ages = expires_at is not None and now() >= expires_at and loop.time() >= looked + ages_every_s
        if ages:
            looked = loop.time()
        warned = followed.warnings
        files = await store.read(partial(followed.advance, ages=ages))
        for batch in _batches(files):
            yield SelectedFiles(files=batch, complete=True, warnings=followed.warnings)
        if not files and followed.warnings != warned:
            yield SelectedFiles(complete=True, warnings=followed.warnings)


def check(reader: Reader, ops: Mapping[str, StepOp], selection: Selection) -> tuple[str, ...]:
    """See ``PluginContext.check_selection``."""
    check_path(selection)
    tree = Tree(reader.documents_of("virtual_directory"), ops)
    return Rule("", selection, tree, ops, strict=True).warnings


class Followed:
    """Selections over a replica: what they held when they were looked at last. Blocks; one thread at a time.

    ``seq`` is the update sequence that it has seen, ``expires_at`` when (microseconds) an ``age`` step will next change
    its mind about a file, None for never. ``warnings`` are those of the present rules, by selection.
    """

    def __init__(self, ops: Mapping[str, StepOp], selections: Mapping[str, Selection], now: Callable[[], int]) -> None:
        self._ops = ops
        self._selections = selections
        self._now = now
        self._rules: dict[str, Rule] = {}
        self._tree: Tree
        # By document number: the file's id and the selections that held it.
        self._holders: dict[int, tuple[str, frozenset[str]]] = {}
        # The time for which every file's ``age`` steps were looked at last.
        self._as_of = 0
        self.seq = 0
        self.expires_at: int | None = None

    @property
    def warnings(self) -> dict[str, tuple[str, ...]]:
        """Sentences by selection; those without are left out."""
        return {name: rule.warnings for name, rule in self._rules.items() if rule.warnings}

    def begin(self, reader: Reader) -> list[SelectedFile]:
        """Look at everything: what there is. Raises ``UserError``."""
        self.seq = reader.seq()
        for selection in self._selections.values():
            check_path(selection)
        self._read_tree(reader)
        self._as_of = self._now()
        return self._look_again(reader, self._rules)

    def advance(self, reader: Reader, *, ages: bool = False) -> list[SelectedFile]:
        """Bring it up to date with the replica, and with the clock when ``ages``: what is different."""
        found: dict[int, SelectedFile] = {}
        lookup = ReplicaLookup(reader)
        again: set[str] = set()
        if ages:
            self._as_of = self._now()
            again = {name for name, rule in self._rules.items() if rule.age_offsets}
        while rows := reader.changes_since(self.seq, BATCH):
            self.seq = rows[-1].seq
            again |= self._see(reader, rows, lookup, found)
        for file in self._look_again(reader, again):
            found[self._number_of(reader, file)] = file
        self._expect(reader)
        return list(found.values())

    # Changes.

    def _see(
        self, reader: Reader, rows: Iterable[ChangeRow], lookup: ReplicaLookup, found: dict[int, SelectedFile]
    ) -> set[str]:
        """Note the files whose own documents changed; the rules by which everything must be looked at again."""
        again: set[str] = set()
        tree_changed = False
        for row in rows:
            if row.type == "file":
                self._see_file(reader, row, lookup, found)
            elif row.type == "virtual_directory":
                tree_changed = True
            elif row.type == "label_rule":
                lookup.forget_rules()
                again |= self._needing("labels")
            elif row.type == "label_assignment":
                again |= self._see_beside(reader, row, self._needing("labels"), lookup, found)
            elif row.type == "annotation":
                plugin = row.id.split("::", 3)[-1].partition("@")[0]
                concerned = {name for name, rule in self._rules.items() if plugin in rule.plugins}
                again |= self._see_beside(reader, row, concerned, lookup, found)
        if tree_changed:
            again |= self._read_tree(reader)
        return again

    def _see_file(self, reader: Reader, change: ChangeRow, lookup: FactsLookup, found: dict[int, SelectedFile]) -> None:
        rows = reader.file_rows([change.doc]) if change.shown else []
        if rows:
            self._judge(rows[0], self._rules, lookup, found, changed=True)
        elif change.doc in self._holders:
            file_id, _ = self._holders.pop(change.doc)
            found[change.doc] = SelectedFile(file_id=file_id)

    def _see_beside(
        self,
        reader: Reader,
        change: ChangeRow,
        concerned: set[str],
        lookup: FactsLookup,
        found: dict[int, SelectedFile],
    ) -> set[str]:
        """A label assignment or an annotation changed: the rules by which everything must be looked at again, since it
        cannot be told what file it was of."""
        if not concerned:
            return concerned
        document = reader.get(change.id)
        if document is None or "export_path" not in document:
            return concerned
        row = reader.file_by_path(document["node_id"], document["export_path"])
        if row is not None:
            self._judge(row, concerned, lookup, found, changed=False)
        return set()

    def _judge(
        self,
        row: FileRow,
        concerned: Collection[str],
        lookup: FactsLookup,
        found: dict[int, SelectedFile],
        *,
        changed: bool,
    ) -> None:
        """Evaluate a file by some of the rules. ``changed``: its own document did."""
        _, before = self._holders.get(row.doc, ("", frozenset[str]()))
        facts, now = facts_of(row), self._now()
        passing = {name for name in concerned if self._rules[name].holds(facts, row.parent, lookup, now)}
        after = (before - set(concerned)) | passing
        if after != before or (changed and before):
            self._hold(row, after, found)

    def _hold(self, row: FileRow, names: frozenset[str], found: dict[int, SelectedFile]) -> None:
        if names:
            self._holders[row.doc] = (row.file_id, names)
        else:
            self._holders.pop(row.doc, None)
        ordered = tuple(name for name in self._rules if name in names)
        found[row.doc] = SelectedFile(file_id=row.file_id, file=row.record(), selections=ordered)

    # Looking at everything.

    def _look_again(self, reader: Reader, names: Iterable[str]) -> list[SelectedFile]:
        """Find all files of some rules, and say what is different from before."""
        found: dict[int, SelectedFile] = {}
        for name in names:
            rule = self._rules[name]
            before = {doc for doc, (_, holders) in self._holders.items() if name in holders}
            for row in _files_of(reader, rule, self._now()):
                if row.doc in before:
                    before.discard(row.doc)
                else:
                    _, holders = self._holders.get(row.doc, ("", frozenset[str]()))
                    self._hold(row, holders | {name}, found)
            for row in reader.file_rows(sorted(before)):
                self._hold(row, self._holders[row.doc][1] - {name}, found)
        self._expect(reader)
        return list(found.values())

    def _read_tree(self, reader: Reader) -> set[str]:
        """Make the rules of the present tree; the names of those that may hold other files than before."""
        tree = Tree(reader.documents_of("virtual_directory"), self._ops)
        if not self._rules:
            changed = set(self._selections)
        else:
            subtrees, _ = tree.changed_since(self._tree)
            changed = {name for name, rule in self._rules.items() if rule.concerns(subtrees)}
        self._tree = tree
        self._rules = {
            name: Rule(name, selection, tree, self._ops) if name in changed else self._rules[name]
            for name, selection in self._selections.items()
        }
        return changed

    def _expect(self, reader: Reader) -> None:
        """Find when the next file crosses a border of an ``age`` step."""
        moments = [
            mtime + offset
            for rule in self._rules.values()
            for offset in rule.age_offsets
            if (mtime := reader.next_mtime(self._as_of - offset)) is not None
        ]
        self.expires_at = min(moments, default=None)

    def _needing(self, need: str) -> set[str]:
        return {name for name, rule in self._rules.items() if need in rule.needs}

    @staticmethod
    def _number_of(reader: Reader, file: SelectedFile) -> int:
        row = reader.file_by_id(file.file_id)
        return -1 if row is None else row.doc


def _files_of(reader: Reader, rule: Rule, now: int) -> Iterator[FileRow]:
    """Every file that a rule holds, once: by its directories where it has some, else by what SQL can say of its
    steps."""
    lookup = lookup_for_scan(reader, ReplicaLookup(reader), rule.needs, rule.labels, rule.plugins)
    if rule.directory is None:
        yield from _by_steps(reader, rule, lookup, now)
        return
    for row in _shown(reader, rule):
        if rule.holds(facts_of(row), row.parent, lookup, now):
            yield row


def _by_steps(reader: Reader, rule: Rule, lookup: FactsLookup, now: int) -> Iterator[FileRow]:
    narrowed = rule.sql(now)
    where, parameters = (narrowed.where, narrowed.parameters) if narrowed is not None else ("", ())
    for batch in reader.scan_files(where, parameters):
        passing = []
        for doc, directory, name, size, mtime, mime in zip(*batch, strict=True):
            node_id, parent = reader.names.directory_path(directory)
            facts = FileFacts(node_id, join(parent, name), name, size, mtime, mime)
            if rule.holds(facts, parent, lookup, now):
                passing.append(doc)
        yield from reader.file_rows(passing)


def _shown(reader: Reader, rule: Rule) -> Iterator[FileRow]:
    """The files directly in directories of which the rule's mounts show something."""
    seen: set[int] = set()
    for node_id, root in rule.places([node_id for _, node_id in reader.nodes()]):
        after = ""
        while directories := reader.directories_under(node_id, root, after=after):
            for directory in directories:
                if directory.direct and directory.dir not in seen and rule.may_show(node_id, directory.path):
                    seen.add(directory.dir)
                    yield from reader.files_in(directory.dir)
            after = directories[-1].path


def _batches(files: list[SelectedFile]) -> Iterator[tuple[SelectedFile, ...]]:
    for start in range(0, len(files), BATCH):
        yield tuple(files[start : start + BATCH])
