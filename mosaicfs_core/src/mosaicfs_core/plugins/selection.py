"""One selection, compiled: does it hold a file? Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from mosaicfs_core.documents.paths import is_under, normalize_virtual
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import Selection, StepOp
from mosaicfs_core.rules import FactsLookup, FileFacts, SqlFilter, compile_chain, labels_named, plugins_named
from mosaicfs_core.rules.tree import ANY_NODE, Mount, Tree


def check_path(selection: Selection) -> None:
    """Raises ``UserError`` when the directory is not a virtual path in its normal form."""
    if selection.directory is None:
        return
    try:
        normal = normalize_virtual(selection.directory)
    except UserError as error:
        raise UserError(f"directory: {error.message}", field="directory") from None
    if normal != selection.directory:
        raise UserError(f"directory: expected {normal!r}, got {selection.directory!r}", field="directory")


class Rule:
    """A selection over a tree of virtual directories. ``strict`` raises ``UserError`` for wrong steps, which are
    skipped with a warning otherwise. ``needs``, ``age_offsets``, ``labels`` and ``plugins`` are as chains have them."""

    def __init__(
        self, name: str, selection: Selection, tree: Tree, ops: Mapping[str, StepOp], *, strict: bool = False
    ) -> None:
        self.name = name
        self.directory = selection.directory
        self._chain = compile_chain(selection.steps, selection.default_result, ops, strict=strict)
        self._mounts = () if self.directory is None else tuple(_showing(tree, self.directory))
        links = [link for mount in self._mounts for link in mount.links]
        steps = [*selection.steps, *(step for link in links for step in link.steps)]
        chains = [self._chain, *(link.chain for link in links)]
        self.needs: frozenset[str] = frozenset().union(*(chain.needs for chain in chains))
        self.age_offsets = tuple(sorted({offset for chain in chains for offset in chain.age_offsets}))
        self.labels = labels_named(steps)
        self.plugins = plugins_named(steps)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd with it."""
        found = [f"Step {warning.index + 1} ({warning.op}): {warning.message}" for warning in self._chain.warnings]
        if self.directory is not None and not self._mounts:
            found.append(f"Nothing is shown at {self.directory} or beneath it.")
        return (*found, *(text for mount in self._mounts for text in mount.warnings))

    def holds(self, facts: FileFacts, parent: str, lookup: FactsLookup, now: int) -> bool:
        """Whether it holds a file, which lies in the directory ``parent`` of its node."""
        if not self._chain.verdict(facts, lookup, now):
            return False
        if self.directory is None:
            return True
        showing = (mount for mount in self._mounts if self._shows(mount, facts.node_id, parent))
        return any(mount.chains.verdict(facts, lookup, now) for mount in showing)

    def may_show(self, node_id: str, path: str) -> bool:
        """Whether files directly in a directory of a node are shown where it looks, steps aside."""
        return any(self._shows(mount, node_id, path) for mount in self._mounts)

    def places(self, nodes: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Node and path of the trees that its mounts show."""
        wanted = {
            (node_id, mount.root)
            for mount in self._mounts
            for node_id in (nodes if mount.node_id == ANY_NODE else (mount.node_id,))
        }
        yield from sorted(wanted)

    def sql(self, now: int) -> SqlFilter | None:
        """What every file that its own steps hold must meet, as far as SQL can say it."""
        return self._chain.sql(now)

    def concerns(self, subtrees: Collection[str]) -> bool:
        """Whether a change in one of these virtual directories may change what it holds."""
        directory = self.directory
        return directory is not None and any(
            is_under(directory, subtree) or is_under(subtree, directory) for subtree in subtrees
        )

    def _shows(self, mount: Mount, node_id: str, path: str) -> bool:
        assert self.directory is not None
        return mount.covers(node_id, path) and is_under(mount.place_of(path), self.directory)


def _showing(tree: Tree, directory: str) -> Iterator[Mount]:
    """The working mounts that may show something at a virtual directory or beneath it."""
    for mount in tree.mounts():
        near = is_under(directory, mount.directory) or is_under(mount.directory, directory)
        if near and not mount.problem:
            yield mount
