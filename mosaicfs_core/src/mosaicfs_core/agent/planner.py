"""Planning against the replica: from operations to the documents to write. Runs in a worker thread with a reader."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mosaicfs_core.agent import disk, plan
from mosaicfs_core.documents import ids, paths, times
from mosaicfs_core.hooks import Create, Entry
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.store import FileRow
from mosaicfs_core.store import crawl_queries as queries
from mosaicfs_core.store.reader import Reader


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Whose operations they are. ``on_disk`` tells that export paths are paths of this machine, which may be looked at.
    ``provider`` is set on the documents of files that a plugin provides. ``places`` answers where files on disk are
    whose at the moment: the settings of others change while this one runs."""

    node_id: str
    instance: str
    on_disk: bool = True
    provider: str | None = None
    places: Callable[[], Places] = Places

    def owns(self, document: Mapping[str, Any]) -> bool:
        """Whether the document of a file is this source's to change: each provider has its own files, and what lies on
        the disk is for those who watch its folder."""
        if document.get("provider") != self.provider:
            return False
        return self.provider is not None or self.places().may_take(document["source"]["export_path"])


class Batch(msgspec.Struct):
    """What to write in one transaction: documents, and their identities (document id, device, number, fingerprint)."""

    documents: list[dict[str, Any]] = []
    identities: list[tuple[str, int, int, str | None]] = []
    moved: set[str] = set()
    created: int = 0
    changed: int = 0

    def add(self, document: dict[str, Any], entry: Entry, fingerprint: str | None = None) -> None:
        """Note a document and, where it has one, the identity of its file."""
        self.documents.append(document)
        if entry.device or entry.number:
            self.identities.append((document["_id"], entry.device, entry.number, fingerprint))


class New(msgspec.Struct):
    """A file without a document at its path."""

    parent: str
    entry: Entry
    mime_type: str | None = None
    fingerprint: str | None = None


class Arrived(NamedTuple):
    """The document of a file that is at another's name now, and where that other one is by now; None: it is no more."""

    document_id: str
    left: New | None


class Planner:
    """One look at the replica. ``claimed`` are document ids that a write still under way gives to other paths.

    ``stands`` tells of a file that is nowhere on a disk to be looked at whether it is known to be still where the
    replica has it. ``matching`` False spares the search for moved files, where there can be none.
    """

    def __init__(
        self,
        reader: Reader,
        source: Source,
        claimed: Collection[str],
        stands: Callable[[FileRow], bool],
        *,
        matching: bool,
    ) -> None:
        self._reader = reader
        self._source = source
        self._claimed = set(claimed)
        self._stands = stands
        self._gone: Collection[int] = ()
        self._matching = matching
        self._new: list[New] = []
        self.batch = Batch()

    def directory(self, path: str, entries: Sequence[Entry], listed: Collection[str]) -> tuple[list[int], list[str]]:
        """Plan a whole directory; returns what is gone: document numbers of files, paths of sub-directories."""
        known = queries.directory_contents(self._reader, self._source.node_id, path)
        difference = plan.compare(entries, known.files, complete=True)
        self._changed(path, [*difference.changed, *self._alike(entries, known.files, difference)])
        self._new += [New(path, entry) for entry in difference.created]
        names = set(listed)
        return difference.gone, [paths.join(path, name) for name in known.directories if name not in names]

    def _alike(
        self, entries: Sequence[Entry], known: Sequence[plan.KnownRow], difference: plan.Difference
    ) -> list[tuple[Entry, int]]:
        """Files of the size and mtime that are known at their names, which nevertheless are others: those that are gone
        from this directory."""
        if not (difference.gone and self._matching and self._source.on_disk):
            return []
        lost = {noted[:2] for noted in self._reader.identities(difference.gone).values()}
        seen = {entry.name for entry, _ in difference.changed}
        found = {entry.name: entry for entry in entries if entry[3:5] in lost and entry.name not in seen}
        docs = {row[3]: found[row[0]] for row in known if row[4] and row[0] in found}
        noted = self._reader.identities(list(docs)) if docs else {}
        return [(entry, doc) for doc, entry in docs.items() if doc in noted and noted[doc][:2] != entry[3:5]]

    def gone_at(self, path: str) -> tuple[list[int], list[str]]:
        """What a deletion at ``path`` takes: a file and a directory with all beneath it. Both are known there while a
        path changes from one to the other."""
        return self.files_at([path]), [path]

    def files_at(self, places: Sequence[str]) -> list[int]:
        """Document numbers of the files known at some paths, where there is something else now."""
        named = [(paths.parent_of(path), paths.name_of(path)) for path in places if path != "/"]
        return queries.files_at(self._reader, self._source.node_id, named)

    def trees_at(self, places: Sequence[str]) -> list[str]:
        """Those of some paths that are known as directories, where there is something else now."""
        return queries.trees_at(self._reader, self._source.node_id, places)

    def directories_under(self, prefix: str) -> Iterator[str]:
        """Known directories with files, at ``prefix`` and beneath it."""
        after = ""
        while found := self._reader.directories_under(self._source.node_id, prefix, after=after):
            yield from (directory.path for directory in found)
            after = found[-1].path

    def gone_from(
        self, path: str, names: Collection[str], listed: Collection[str] | None
    ) -> tuple[list[int], list[str]]:
        """What is gone from a directory of which ``names`` (files) and ``listed`` (directories; None: unknown) are
        there.
        """
        known = queries.directory_contents(self._reader, self._source.node_id, path)
        gone = [row[3] for row in known.files if row[4] and row[0] not in names]
        if listed is None:
            return gone, []
        return gone, [paths.join(path, name) for name in known.directories if name not in listed]

    def named(self, path: str, entries: Sequence[Entry]) -> tuple[list[int], list[str]]:
        """Plan some files of a directory; nothing is concluded about the others."""
        known = queries.named_files(self._reader, self._source.node_id, path, [entry.name for entry in entries])
        difference = plan.compare(entries, known.files, complete=False)
        self._changed(path, difference.changed)
        self._new += [New(path, entry) for entry in difference.created]
        return [], []

    def creates(self, operations: Iterable[Create]) -> None:
        """Plan files named one by one."""
        by_parent: defaultdict[str, dict[str, Create]] = defaultdict(dict)
        for operation in operations:
            by_parent[paths.parent_of(operation.export_path)][paths.name_of(operation.export_path)] = operation
        for parent, named in by_parent.items():
            known = queries.named_files(self._reader, self._source.node_id, parent, list(named))
            entries = [self._entry(name, operation) for name, operation in named.items()]
            difference = plan.compare(entries, known.files, complete=False)
            marked = self._fingerprints(difference, known, named)
            self._changed(parent, [*difference.changed, *marked], named)
            self._new += [
                New(parent, entry, named[entry.name].mime_type, named[entry.name].fingerprint)
                for entry in difference.created
            ]

    def _fingerprints(
        self, difference: plan.Difference, known: queries.DirectoryContents, named: dict[str, Create]
    ) -> list[tuple[Entry, int]]:
        """Files of which only the fingerprint differs."""
        seen = {entry.name for entry, _ in difference.changed} | {entry.name for entry in difference.created}
        same = {row[0]: row[3] for row in known.files if row[4] and row[0] not in seen and named[row[0]].fingerprint}
        if not same:
            return []
        noted = self._reader.identities(list(same.values()))
        return [
            (self._entry(name, named[name]), doc)
            for name, doc in same.items()
            if doc not in noted or noted[doc].fingerprint != named[name].fingerprint
        ]

    def _changed(
        self, parent: str, changed: Sequence[tuple[Entry, int]], named: dict[str, Create] | None = None
    ) -> None:
        if not changed:
            return
        documents = self._reader.documents([doc for _, doc in changed])
        by_name = {document["name"]: document for document in documents}
        arrived = self._arrived(parent, changed)
        for entry, _ in changed:
            document = by_name.get(entry.name)
            if document is None or document["_id"] in self._claimed:
                continue
            operation = named[entry.name] if named else None
            mime_type = operation.mime_type if operation else None
            fingerprint = operation.fingerprint if operation else None
            file = New(parent, entry, mime_type, fingerprint)
            if not self._source.owns(document):
                if document["status"] != "active":  # somebody else's file was here once
                    self._new.append(file)
                continue
            if (came := arrived.get(entry.name)) is not None:
                if came.left is not None or document["status"] != "active":
                    self._move(came.document_id, file)
                    if came.left is not None:  # else of the file that was here only the labels are
                        self._move(document["_id"], came.left)
                    continue
                self._end(came.document_id, paths.join(parent, entry.name), document["_id"])
            self.batch.add(plan.changed_document(document, entry.size, entry.mtime, mime_type), entry, fingerprint)
            self.batch.changed += 1

    def _arrived(self, parent: str, changed: Sequence[tuple[Entry, int]]) -> dict[str, Arrived]:
        """The files that were renamed onto a name that is known, by that name: what is there now has another identity
        than before, which is that of a file that is gone from its own place, or that exchanged places with the one that
        was here."""
        if not (self._matching and self._source.on_disk):
            return {}
        noted = self._reader.identities([doc for _, doc in changed])
        others = [
            (New(parent, entry), doc)
            for entry, doc in changed
            if entry.number and doc in noted and noted[doc][:2] != (entry.device, entry.number)
        ]
        known = self._identified([file for file, _ in others])
        found: dict[str, Arrived] = {}
        for file, doc in others:
            docs = [other for other in known.get((file.entry.device, file.entry.number), []) if other != doc]
            document_id = self._by_identity(file, docs, known_there=True)
            came = self._exchanged(file, doc, docs) if document_id is None else Arrived(document_id, None)
            if came is not None:
                found[file.entry.name] = came
        return found

    def _exchanged(self, file: New, doc: int, docs: Sequence[int]) -> Arrived | None:
        """Which of the documents with a file's identity exchanged its place with the one that was at its path. Numbers
        are given out again, so both must be as they were."""
        if not docs:
            return None
        (here,), noted = self._reader.file_rows([doc]), self._reader.identities([doc])[doc]
        for there in self._reader.file_rows(docs):
            left = disk.entry_at(there.export_path, noted.device)
            if (
                left is not None
                and left.number == noted.number
                and plan.is_as_known(left, here)
                and plan.is_as_known(file.entry, there)
                and self._may_move(there.document_id)
            ):
                return Arrived(there.document_id, New(there.parent, left))
        return None

    def _end(self, document_id: str, path: str, onto: str) -> None:
        """A file was renamed onto another, whose document goes on: its own ends there."""
        document = self._reader.get(document_id)
        if document is None:
            return
        self._claimed.add(document_id)
        self.batch.documents.append(plan.ended_document(document, path, onto, times.now_micros()))
        self.batch.moved.add(document_id)

    # New paths.

    def finish(self, gone: Collection[int] = ()) -> Batch:
        """Decide about the files without a document at their path, all together; returns what is to be written.

        ``gone`` are the document numbers that this look has found to be gone.
        """
        self._gone = frozenset(gone)
        if self._new:
            self._created(self._moved(self._new) if self._matching else self._new)
            self._new = []
        return self.batch

    def _created(self, left: Sequence[New]) -> None:
        node_id, provider = self._source.node_id, self._source.provider
        uuids = [ids.first_file_uuid(node_id, paths.join(file.parent, file.entry.name)) for file in left]
        document_ids = [ids.file_document_id(node_id, uuid) for uuid in uuids]
        derived = [ids.derived_inode(name) for name in document_ids]
        inodes, gave_way = plan.free_inodes(derived, queries.taken_inodes(self._reader, derived))
        for position in gave_way:
            if self._reader.row(document_ids[position]) is not None:
                uuids[position], inodes[position] = self._other_id(inodes)
            while queries.taken_inodes(self._reader, [inodes[position]]):
                inodes[position] += 1
        for file, uuid, inode in zip(left, uuids, inodes, strict=True):
            document = plan.new_document(node_id, file.parent, file.entry, uuid, inode, file.mime_type, provider)
            self.batch.add(document, file.entry, file.fingerprint)
        self.batch.created += len(left)

    def _other_id(self, used: Collection[int]) -> tuple[str, int]:
        """A random uuid, for a path whose first one went away with a file that moved, and its inode."""
        while True:
            uuid = ids.next_file_uuid()
            inode = ids.derived_inode(ids.file_document_id(self._source.node_id, uuid))
            if inode not in used:
                return uuid, inode

    def _moved(self, new: Sequence[New]) -> list[New]:
        """Give files that only moved their documents; returns the ones that are really new."""
        known = self._identified(new)
        left: list[New] = []
        for file in new:
            found = self._by_identity(file, known.get((file.entry.device, file.entry.number), ()))
            if found is None and self._source.on_disk:
                found = self._by_likeness(file)
            if found is None:
                left.append(file)
            else:
                self._move(found, file)
        return left

    def _identified(self, files: Sequence[New]) -> dict[tuple[int, int], list[int]]:
        """Document numbers of what was last seen with the device and number of one of the files."""
        pairs = {(file.entry.device, file.entry.number) for file in files if file.entry.number}
        known: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for device, number, doc in queries.identity_matches(self._reader, list(pairs)) if pairs else ():
            known[device, number].append(doc)
        return known

    def _by_identity(self, file: New, docs: Sequence[int], *, known_there: bool = False) -> str | None:
        """Which of the documents with a file's identity is its own. ``known_there``: another is known at its path."""
        rows = self._reader.file_rows(docs) if docs else []
        # Of several that had this number in turn it is rather the one that is still there.
        for row in sorted(rows, key=lambda row: row.status != "active"):
            if row.node_id != self._source.node_id or not self._may_move(row.document_id):
                continue
            if not self._source.on_disk:
                if row.status != "active" or row.doc in self._gone or not self._stands(row):
                    return row.document_id
                continue
            gone = not disk.is_file(row.export_path)
            name = None if known_there else row.name
            facts = plan.Candidate(row.document_id, name, row.size, row.mtime, row.status == "active", gone)
            path = paths.join(file.parent, file.entry.name)
            if gone and facts.active and not plan.same_file(file.entry, facts):
                facts = facts._replace(born=disk.birth_time(path))
            if plan.same_file(file.entry, facts):
                return row.document_id
        return None

    def _by_likeness(self, file: New) -> str | None:
        """A file of the same name, size and mtime that is gone from its mounted disk, if there is just one."""
        entry = file.entry
        docs = queries.files_alike(self._reader, entry.name, entry.size, times.kept_micros(entry.mtime))
        if not docs:
            return None
        noted = self._reader.identities(docs)
        found = [
            row.document_id
            for row in self._reader.file_rows(docs)
            if row.node_id == self._source.node_id
            and row.doc in noted
            and disk.is_gone(row.export_path, noted[row.doc].device)
            and self._may_move(row.document_id)
        ]
        return found[0] if len(found) == 1 else None

    def _may_move(self, document_id: str) -> bool:
        """Whether a document is this source's, and not claimed for another path."""
        document = None if document_id in self._claimed else self._reader.get(document_id)
        return document is not None and self._source.owns(document)

    def _move(self, document_id: str, file: New) -> None:
        document = self._reader.get(document_id)
        if document is None:
            return
        path = paths.join(file.parent, file.entry.name)
        moved = plan.moved_document(document, path)
        moved = plan.changed_document(moved, file.entry.size, file.entry.mtime, file.mime_type)
        self._claimed.add(document_id)
        self.batch.add(moved, file.entry, file.fingerprint)
        self.batch.moved.add(document_id)
        self.batch.changed += 1

    def _entry(self, name: str, operation: Create) -> Entry:
        """A ``Create`` as an entry. An opaque identity of this instance becomes a number on the device 0, which no disk
        has."""
        if operation.identity is None:
            return Entry(name, operation.size, operation.mtime, operation.device, operation.number)
        digest = hashlib.sha256(f"{self._source.instance}\0{operation.identity}".encode()).digest()
        return Entry(name, operation.size, operation.mtime, 0, int.from_bytes(digest[:8], "big") >> 1)
