"""The virtual directory documents as a tree of directories, mounts and the chains that rule each mount. Pure.

Built whole from the documents (there are few, and they change seldom) and compared with its predecessor to learn what
an edit touches. Documents arrive one by one: a directory whose parent has no document yet is shown all the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from mosaicfs_core.documents.paths import is_under, join, name_of, parent_of
from mosaicfs_core.documents.times import parse_canonical
from mosaicfs_core.rules.chains import Chain, Chains, PluginOp, chain_key, compile_chain

ANY_NODE: Final = "*"


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One chain that a mount obeys. ``origin`` is the directory whose steps they are, None for the mount's own."""

    origin: str | None
    steps: tuple[Mapping[str, Any], ...]
    chain: Chain


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """A source of files, ready to be evaluated.

    Files of ``node_id`` (``*``: any) under ``root`` are shown at ``directory`` plus what follows ``base`` in their
    path, or directly in ``directory`` when ``flatten``. ``links`` are the chains, outermost first; ``key`` names
    their combination, and mounts of one key accept the same files; it is empty when every file passes. ``problem``
    says why the mount shows nothing at all.
    """

    directory: str
    mount_id: str
    node_id: str
    export_path: str
    root: str
    base: str
    flatten: bool
    suffix: bool
    links: tuple[Link, ...]
    chains: Chains
    key: str
    problem: str | None = None

    @property
    def warnings(self) -> Iterator[str]:
        """Sentences about what is odd with the mount's steps."""
        for link in self.links:
            where = f"the mount {self.mount_id} of {self.directory}" if link.origin is None else link.origin
            for warning in link.chain.warnings:
                yield f"Step {warning.index + 1} ({warning.op}) of {where}: {warning.message}"
        if self.problem:
            yield f"The mount {self.mount_id} of {self.directory} shows nothing: {self.problem}"

    def covers(self, node_id: str, export_path: str) -> bool:
        """Whether the path lies where this mount looks."""
        return self.node_id in (ANY_NODE, node_id) and is_under(export_path, self.root)

    def place_of(self, export_directory: str) -> str:
        """The virtual directory that shows the direct files of a directory under ``root``."""
        if self.flatten:
            return self.directory
        return _graft(self.directory, export_directory, self.base)

    def source_of(self, path: str) -> str | None:
        """The export directory that this mount shows at a virtual path under ``directory``.

        It lies under ``root``, or above it where ``root`` is deeper than what is stripped. None: the mount has
        nothing there.
        """
        if self.flatten:
            return self.root if path == self.directory else None
        source = _graft(self.base, path, self.directory)
        return source if is_under(source, self.root) or is_under(self.root, source) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Directory:
    """A virtual directory that has a document."""

    path: str
    inode: int
    created: int
    system: bool
    document: Mapping[str, Any]


class Tree:
    """Every virtual directory and mount."""

    def __init__(self, documents: Iterable[Mapping[str, Any]], ops: Mapping[str, PluginOp]) -> None:
        self.directories: dict[str, Directory] = {}
        for document in documents:
            path = document["virtual_path"]
            created = parse_canonical(document["created_at"])
            self.directories[path] = Directory(path, document["inode"], created, bool(document.get("system")), document)
        self.children: dict[str, set[str]] = {"/": set()}
        for path in self.directories:
            while path != "/":
                parent = parent_of(path)
                self.children.setdefault(path, set())
                self.children.setdefault(parent, set()).add(name_of(path))
                path = parent
        self._compile = ChainCompiler(ops)
        self.mounts_at = {
            path: mounts for path in self.directories if (mounts := self.mounts_of(path, self._mounts_in(path)))
        }

    def mounts(self) -> Iterator[Mount]:
        """All mounts, by directory."""
        for path in sorted(self.mounts_at):
            yield from self.mounts_at[path]

    def mounts_over(self, path: str) -> Iterator[Mount]:
        """The mounts of the directory and of all its ancestors, outermost first: they may show something in it."""
        for ancestor in ancestry(path):
            yield from self.mounts_at.get(ancestor, ())

    def mounts_of(self, path: str, mounts: Sequence[Mapping[str, Any]]) -> tuple[Mount, ...]:
        """Make these mounts, saved or draft, ready for the directory at ``path``: with the chains it inherits and its
        own.
        """
        inherited = tuple(self._inherited(path))
        return tuple(self._mount(path, mount, inherited) for mount in mounts)

    def changed_since(self, former: Tree) -> tuple[set[str], set[str]]:
        """The subtrees in which anything may be another than in ``former``, and the directories that gained or lost a
        child.
        """
        subtrees = {
            path
            for path in self.directories.keys() | former.directories.keys()
            if _content(self.directories.get(path)) != _content(former.directories.get(path))
        }
        parents = {
            path
            for path in self.children.keys() | former.children.keys()
            if self.children.get(path) != former.children.get(path)
        }
        return {
            path for path in subtrees if not any(up in subtrees for up in ancestry(parent_of(path)) if path != "/")
        }, parents

    def _mounts_in(self, path: str) -> Sequence[Mapping[str, Any]]:
        return self.directories[path].document.get("mounts") or ()

    def _inherited(self, path: str) -> Iterator[tuple[str, Sequence[Mapping[str, Any]], str]]:
        """The chains that directories impose: enforced ones of ancestors, then the directory's own."""
        for ancestor in ancestry(path):
            directory = self.directories.get(ancestor)
            if directory is None or not (steps := directory.document.get("steps")):
                continue
            if ancestor == path or directory.document.get("enforce_steps_on_children"):
                yield ancestor, steps, directory.document.get("default_result") or "include"

    def _mount(
        self, path: str, mount: Mapping[str, Any], inherited: Sequence[tuple[str, Sequence[Mapping[str, Any]], str]]
    ) -> Mount:
        links = [self._compile(*chain) for chain in inherited]
        links.append(self._compile(None, mount.get("steps") or (), mount.get("default_result") or "include"))
        chains = Chains([link.chain for link in links if not link.chain.passes_all])
        problem = None
        export_path = _plain(mount["source"]["export_path"])
        base = _plain(mount.get("source_prefix") or export_path)
        flatten = mount.get("strategy") == "flatten"
        root = export_path
        if not flatten and is_under(base, export_path):
            root = base
        elif not flatten and not is_under(export_path, base):
            problem = f"source_prefix {base} neither lies under {export_path} nor holds it"
        return Mount(
            directory=path,
            mount_id=mount["mount_id"],
            node_id=mount["source"]["node_id"],
            export_path=export_path,
            root=root,
            base=base,
            flatten=flatten,
            suffix=mount.get("conflict_policy") == "suffix_node_id",
            links=tuple(links),
            chains=chains,
            key="" if chains.passes_all else chains.key,
            problem=problem,
        )


class ChainCompiler:
    """Compiles each chain once: mounts share most of what they inherit."""

    def __init__(self, ops: Mapping[str, PluginOp]) -> None:
        self._ops = ops
        self._known: dict[str, Chain] = {}

    def __call__(self, origin: str | None, steps: Sequence[Mapping[str, Any]], default_result: str) -> Link:
        """A step that is wrong or unknown is skipped, and warned of."""
        key = chain_key(steps, default_result)
        chain = self._known.get(key)
        if chain is None:
            chain = self._known[key] = compile_chain(steps, default_result, self._ops)
        return Link(origin, tuple(steps), chain)


def ancestry(path: str) -> list[str]:
    """The root, and every directory on the way down to the path, which comes last."""
    found = ["/"]
    if path != "/":
        current = ""
        for part in path[1:].split("/"):
            current = f"{current}/{part}"
            found.append(current)
    return found


def _graft(onto: str, path: str, cut: str) -> str:
    """``path``, which lies under ``cut``, with ``onto`` in its place."""
    rest = path[len(cut) :] if cut != "/" else path
    rest = rest.strip("/")
    return join(onto, rest) if rest else onto


def _plain(path: str) -> str:
    return path.rstrip("/") or "/"


def _content(directory: Directory | None) -> Mapping[str, Any] | None:
    """What of a directory's document makes a difference to listings; its revision does not."""
    if directory is None:
        return None
    return {key: value for key, value in directory.document.items() if key != "_rev"}
