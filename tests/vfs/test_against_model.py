"""Protects the namespace as a whole.

Over random trees and random edits, a listing equals a brute-force evaluation of the rules, a namespace that followed
the changes equals a fresh one, and a refresh names everything that became different.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaicfs_core import documents as d
from mosaicfs_core.errors import NotFound
from mosaicfs_core.rules import EffectiveLabels, FileFacts, compile_chain
from mosaicfs_vfs.namespace import Namespace
from mosaicfs_vfs.namespace.conflicts import Candidate, settle

Shown = dict[str, dict[str, tuple[Any, ...]]]

NODES = ("node-a", "node-b")
DIRECTORIES = ("/", "/s", "/s/x", "/s/x/y", "/s/z", "/t", "/t/x")
NAMES = ("a.txt", "b.txt", "c.pdf", "x", "y")
PATHS = ("/v", "/v/x", "/v/x/y", "/v/s", "/w")

steps = st.lists(
    st.sampled_from(
        [
            {"op": "glob", "pattern": "*.txt"},
            {"op": "glob", "pattern": "**/x/**", "invert": True},
            {"op": "regex", "pattern": "a|y", "on_match": "include"},
            {"op": "size", "max_bytes": 2},
            {"op": "age", "max_days": 3},
            {"op": "age", "min_days": 2, "on_match": "exclude"},
            {"op": "node", "node_ids": ["node-a"]},
            {"op": "mime", "globs": ["text/*"]},
            {"op": "label", "labels": ["red"]},
            {"op": "annotation", "plugin_name": "p", "key": "k", "value": 1},
            {"op": "unheard_of"},
        ]
    ),
    max_size=2,
)


@st.composite
def mounts(draw: st.DrawFn) -> dict[str, Any]:
    source = draw(st.sampled_from(DIRECTORIES))
    prefix = draw(st.sampled_from([None, None, "/", "/s", "/s/x"]))
    made: dict[str, Any] = {
        "mount_id": draw(st.uuids()).hex,
        "source": {"node_id": draw(st.sampled_from([*NODES, "*"])), "export_path": source},
        "strategy": draw(st.sampled_from(["prefix_replace", "prefix_replace", "flatten"])),
        "steps": draw(steps),
        "default_result": draw(st.sampled_from(["include", "include", "exclude"])),
        "conflict_policy": draw(st.sampled_from(["last_write_wins", "suffix_node_id"])),
    }
    if prefix is not None and (d.is_under(prefix, source) or d.is_under(source, prefix)):
        made["source_prefix"] = prefix
    return made


@st.composite
def directory_fields(draw: st.DrawFn) -> dict[str, Any]:
    own = draw(st.one_of(st.just([]), steps))
    fields: dict[str, Any] = {"mounts": draw(st.lists(mounts(), max_size=2))}
    if own:
        fields |= {"steps": own, "enforce_steps_on_children": draw(st.booleans())}
    return fields


places = st.tuples(st.sampled_from(NODES), st.sampled_from(DIRECTORIES), st.sampled_from(NAMES))
edits = st.one_of(
    st.tuples(st.just("file"), places, st.integers(1, 3), st.sampled_from([0.5, 1.5, 2.5, 3.5])),
    st.tuples(st.just("file"), places, st.integers(1, 3), st.sampled_from([0.5, 1.5, 2.5, 3.5])),
    st.tuples(st.just("delete"), st.integers(0, 50)),
    st.tuples(st.just("move"), st.integers(0, 50), places),
    st.tuples(st.just("directory"), st.sampled_from(PATHS), directory_fields()),
    st.tuples(st.just("rmdir"), st.sampled_from(PATHS)),
    st.tuples(st.just("label"), places, st.booleans()),
    st.tuples(st.just("rule"), st.sampled_from(["/s/", "/s/x/", "/"]), st.booleans()),
    st.tuples(st.just("annotate"), places, st.sampled_from([1, 2, None])),
    st.tuples(st.just("time"), st.sampled_from([0.3, 1.0])),
)


class Model:
    """The documents as plain dictionaries, and the tree that the rules make of them, evaluated in full."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.documents: dict[str, dict[str, Any]] = {}

    def of(self, type_name: str) -> list[dict[str, Any]]:
        return [one for one in self.documents.values() if one["type"] == type_name]

    def keep(self, document: dict[str, Any]) -> None:
        self.documents[document["_id"]] = document

    def apply(self, edit: tuple[Any, ...]) -> None:
        kind, *rest = edit
        getattr(self, kind)(*rest)

    def file(self, place: tuple[str, str, str], size: int, age: float) -> None:
        node, parent, name = place
        mime = "text/plain" if name.endswith(".txt") else None
        document = self.world.file(d.join(parent, name), node, size=size, age=age, mime=mime)
        self.keep(document)

    def _pick(self, number: int) -> dict[str, Any] | None:
        files = [one for one in self.of("file") if one["status"] == "active"]
        return files[number % len(files)] if files else None

    def delete(self, number: int) -> None:
        if (document := self._pick(number)) is not None:
            self.keep(self.world.delete_file(document))

    def move(self, number: int, place: tuple[str, str, str]) -> None:
        path = d.join(place[1], place[2])
        document = self._pick(number)
        if document is not None and all(one["source"]["export_path"] != path for one in self.of("file")):
            self.keep(self.world.move_file(document, path))

    def directory(self, path: str, fields: Mapping[str, Any]) -> None:
        mounts = fields["mounts"]
        rest = {key: value for key, value in fields.items() if key != "mounts"}
        self.keep(self.world.directory(path, *mounts, **rest))

    def rmdir(self, path: str) -> None:
        document = self.documents.pop(d.directory_document_id(path), None)
        if document is not None:
            self.world.remove(document)

    def label(self, place: tuple[str, str, str], on: bool) -> None:
        self.keep(self.world.label(d.join(place[1], place[2]), *(["red"] if on else []), node=place[0]))

    def rule(self, prefix: str, on: bool) -> None:
        if on:
            self.keep(self.world.rule(prefix, "red"))
        elif (
            document := self.documents.pop(d.label_rule_id("00000000-0000-4000-8000-000000000001"), None)
        ) is not None:
            self.world.remove(document)

    def annotate(self, place: tuple[str, str, str], value: int | None) -> None:
        path = d.join(place[1], place[2])
        if value is not None:
            self.keep(self.world.annotate(path, "p", {"k": value}, place[0]))
        elif (document := self.documents.pop(d.annotation_id(place[0], path, "p"), None)) is not None:
            self.world.remove(document, "export_path")

    def time(self, days: float) -> None:
        self.world.now += int(days * d.MICROS_PER_DAY)

    # -- what the FactsLookup of the rules asks --------------------------------------------------------------------

    def labels(self, facts: FileFacts) -> frozenset[str]:
        return EffectiveLabels(self.of("label_assignment"), self.of("label_rule")).of(facts.node_id, facts.export_path)

    def annotation(self, facts: FileFacts, plugin: str) -> Mapping[str, Any] | None:
        found = self.documents.get(d.annotation_id(facts.node_id, facts.export_path, plugin))
        return None if found is None else found["data"]

    # -- the rules, in full ----------------------------------------------------------------------------------------

    def tree(self) -> Shown:
        """Every directory with its entries: ``("directory",)`` or ``("file", inode, size, mtime)``."""
        wanted: dict[str, list[tuple[dict[str, Any], bool]]] = {"/": []}
        own = {one["virtual_path"]: one for one in self.of("virtual_directory")}
        for path in own:
            self._make(wanted, path)
        for path, document in own.items():
            for mount in document["mounts"]:
                for file in self.of("file"):
                    place = self._place(path, mount, file)
                    if place is not None and self._passes(own, path, mount, file):
                        self._make(wanted, place)
                        wanted[place].append((file, mount["conflict_policy"] == "suffix_node_id"))
        return {path: self._entries(path, files, wanted) for path, files in wanted.items()}

    @staticmethod
    def _make(wanted: dict[str, list[Any]], path: str) -> None:
        while path not in wanted:
            wanted[path] = []
            path = d.parent_of(path)

    @staticmethod
    def _place(path: str, mount: Mapping[str, Any], file: Mapping[str, Any]) -> str | None:
        source, at = mount["source"], file["source"]
        prefix = mount.get("source_prefix", source["export_path"])
        flat = mount["strategy"] == "flatten"
        if file["status"] != "active" or source["node_id"] not in ("*", at["node_id"]):
            return None
        if not d.is_under(at["export_parent"], source["export_path"]):
            return None
        if flat:
            return path
        if not d.is_under(at["export_parent"], prefix):
            return None
        rest = at["export_parent"][len(prefix.rstrip("/")) :].strip("/")
        return f"{path}/{rest}" if rest else path

    def _passes(self, own: Mapping[str, Any], path: str, mount: Mapping[str, Any], file: Mapping[str, Any]) -> bool:
        chains = [(mount["steps"], mount["default_result"])]
        for above, document in own.items():
            imposed = above == path or (d.is_under(path, above) and document["enforce_steps_on_children"])
            if imposed and document.get("steps"):
                chains.append((document["steps"], document.get("default_result", "include")))
        facts = self._facts(file)
        return all(compile_chain(*chain, {}).verdict(facts, self, self.world.now) for chain in chains)

    @staticmethod
    def _facts(file: Mapping[str, Any]) -> FileFacts:
        source = file["source"]
        mtime = d.parse_time(file["mtime"])
        return FileFacts(
            source["node_id"], source["export_path"], file["name"], file["size"], mtime, file.get("mime_type")
        )

    @staticmethod
    def _entries(path: str, files: list[tuple[dict[str, Any], bool]], wanted: Mapping[str, Any]) -> dict[str, Any]:
        inside = {d.name_of(one) for one in wanted if one != "/" and d.parent_of(one) == path}
        entries: dict[str, Any] = dict.fromkeys(inside, ("directory",))
        groups: dict[str, list[Candidate]] = {}
        by_id = {d.short_file_id(file["_id"]): file for file, _ in files}
        for file, suffix in files:
            facts = Model._facts(file)
            short = d.short_file_id(file["_id"])
            made = Candidate(short, file["name"], facts.mtime, facts.node_id, facts.export_path, suffix)
            groups.setdefault(file["name"], []).append(made)
        for outcome in settle(groups, inside, groups.keys()):
            if outcome.name is not None:
                file = by_id[outcome.candidate.file_id]
                entries[outcome.name] = ("file", file["inode"], file["size"], outcome.candidate.mtime)
        return entries


def listed(namespace: Namespace, paths: list[str]) -> Shown:
    """What the namespace shows at these paths, in the model's terms; what is not there is left out."""
    found: Shown = {}
    for path in paths:
        try:
            listing = namespace.list(path)
        except NotFound:
            continue
        assert [entry.name for entry in listing.entries] == sorted(listing.by_name)
        found[path] = {
            entry.name: ("directory",) if entry.is_directory else ("file", entry.inode, entry.size, entry.mtime)
            for entry in listing.entries
        }
    return found


def files_of(tree: Shown) -> dict[int, tuple[int, int]]:
    """Size and mtime of every file that is shown anywhere, by inode."""
    entries = (entry for listing in tree.values() for entry in listing.values() if entry[0] == "file")
    return {inode: (size, mtime) for _, inode, size, mtime in entries}


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    setup=st.lists(st.tuples(st.just("file"), places, st.integers(1, 3), st.sampled_from([0.5, 2.5])), max_size=12),
    trees=st.dictionaries(st.sampled_from(PATHS), directory_fields(), max_size=4),
    rounds=st.lists(st.lists(edits, min_size=1, max_size=3), min_size=1, max_size=5),
)
def test_random_trees_and_edits(make_world: Callable[[], Any], setup: Any, trees: Any, rounds: Any) -> None:
    with closing(make_world()) as world:
        model = Model(world)
        for edit in setup:
            model.apply(edit)
        for path, fields in trees.items():
            model.directory(path, fields)
        namespace = world.fresh()
        before = model.tree()
        assert listed(namespace, list(before)) == before
        for round_ in rounds:
            for edit in round_:
                model.apply(edit)
            changes = namespace.refresh()
            after = model.tree()
            everywhere = sorted(before.keys() | after.keys())
            assert listed(namespace, everywhere) == after
            assert listed(world.fresh(), everywhere) == after
            for path in everywhere:
                assert before.get(path) == after.get(path) or changes.touches(path), path
            both = files_of(before).keys() & files_of(after).keys()
            differing = files_of(before).items() ^ files_of(after).items()
            assert {inode for inode, _ in differing if inode in both} <= changes.inodes
            before = after
