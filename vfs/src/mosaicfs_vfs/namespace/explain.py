"""Why is it here, why is it not: every mount that could show a file, with the verdict of each chain and step.

The causes a file can be missing for are the ``Reason``s below; the explanation names one of them, in a sentence for
people and a word for programs, and holds what led there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from mosaicfs_core.documents.paths import is_under, join, name_of, normalize_virtual, parent_of
from mosaicfs_core.errors import UserError
from mosaicfs_core.rules.tree import Link, Mount
from mosaicfs_core.store import FileRow
from mosaicfs_core.store.lookup import facts_of
from mosaicfs_vfs.namespace.listing import build, collect, decide
from mosaicfs_vfs.namespace.missing import explain_missing
from mosaicfs_vfs.namespace.state import State

Reason: TypeAlias = Literal[
    "step",  # a step of the mount, or of its own directory, excludes it
    "inherited_step",  # a step that a directory above imposes excludes it
    "conflict",  # another file or a directory has its name
    "deleted",  # it is not on its node any more
    "ignored",  # a pattern keeps it out of the index
    "no_mount",  # no mount covers the place it is at
    "elsewhere",  # it is shown, but not at the path asked about
    "broken_mount",  # the mount that covers it cannot be evaluated
    "symlink",  # it is a symbolic link, or lies beyond one
    "special",  # it is a socket, a pipe or a device
    "unreadable",  # it, or a directory on the way to it, cannot be read
    "not_on_disk",  # no such file was ever indexed, and none is there
    "not_crawled",  # it is there, and the next crawl will find it
    "never_indexed",  # no such file was ever indexed; the message tells more
]


class StepReport(msgspec.Struct, frozen=True):
    """What a step said. ``number`` counts from 1 and is None for the chain's default; ``result`` is what followed."""

    number: int | None
    op: str
    matched: bool | None
    result: str
    note: str
    step: dict[str, object] | None


class ChainReport(msgspec.Struct, frozen=True):
    """A chain that a mount obeys. ``origin`` is the directory whose steps they are, None for the mount's own."""

    origin: str | None
    inherited: bool
    passes: bool
    steps: tuple[StepReport, ...]


class MountReport(msgspec.Struct, frozen=True):
    """A mount that covers the file: where it shows it (``path``), or why it does not (``reason``, ``message``).

    ``winner`` is the id of the file that has the name instead, when one has.
    """

    directory: str
    mount_id: str
    node_id: str
    export_path: str
    strategy: str
    shown: bool
    path: str
    reason: Reason | None
    message: str
    winner: str | None
    chains: tuple[ChainReport, ...]


class Explanation(msgspec.Struct, frozen=True):
    """The answer. ``file`` is the file in question, when one is; ``paths`` are all places that show it.

    ``mounts`` begin with those that could show it at ``path``. ``places`` are the (node id, export path) where to look
    on disk for a file that is not indexed.
    """

    shown: bool
    kind: Literal["file", "directory"] | None
    reason: Reason | None
    message: str
    path: str | None
    file: FileRow | None
    paths: tuple[str, ...]
    mounts: tuple[MountReport, ...]
    places: tuple[tuple[str, str], ...] = ()


class Explainer:
    """Explains over one state."""

    def __init__(
        self, state: State, paths_of: Callable[[str], Sequence[str]], live: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._state = state
        self._paths_of = paths_of
        self._live = live

    def explain(self, path: str | None, row: FileRow | None) -> Explanation:
        """Explain a virtual path, a file, a file at a virtual path, or an export path that no virtual path answers
        to.
        """
        if path is None:
            if row is None:
                raise UserError("expected a path, a file_id or both", field="path")
            return self.file(row, None)
        path = normalize_virtual(path)
        if row is not None:
            return self.file(row, path)
        return self._path(path)

    def _path(self, path: str) -> Explanation:
        now = self._state.now()
        listing = build(self._state, path, now)
        if listing is not None:
            return self._directory(path, listing.derived, len(listing.entries))
        parent = build(self._state, parent_of(path), now)
        entry = parent.by_name.get(name_of(path)) if parent is not None else None
        if entry is not None and entry.file is not None:
            return self.file(entry.file, path)
        candidates = list(self._candidates(path))
        if candidates:
            row = candidates[0]
            return self.file(row, None if row.export_path == path else path)
        return self._missing(path, list(self._sources(path)), in_tree=True)

    def on_disk(self, export_path: str) -> Explanation:
        """Explain a path of a machine's disk, whatever the tree has there. Raises ``UserError``."""
        path = normalize_virtual(export_path)
        places = list(self._everywhere(path))
        active, deleted = self._indexed(places)
        for row in (*active, *deleted):
            return self.file(row, None)
        return self._missing(path, places, in_tree=False)

    def _missing(self, path: str, sources: Sequence[tuple[str, str]], *, in_tree: bool) -> Explanation:
        missing = explain_missing(self._state, path, sources, self._live, in_tree=in_tree)
        return Explanation(False, None, missing.reason, missing.message, path, None, (), (), missing.places)

    def _directory(self, path: str, derived: bool, entries: int) -> Explanation:
        count = f"{entries} {'entry' if entries == 1 else 'entries'}"
        if derived:
            message = f"{path} is a directory because files that are shown lie in it ({count})."
        else:
            message = f"{path} is a virtual directory ({count})."
        return Explanation(True, "directory", None, message, path, None, (path,), ())

    def file(self, row: FileRow, path: str | None) -> Explanation:
        """Explain a file, and why it is (not) at ``path`` if that is given."""
        if row.status != "active":
            message = f"{row.export_path} was deleted on {row.node_id}; deleted files are never shown."
            return Explanation(False, "file", "deleted", message, path, row, (), (), ((row.node_id, row.export_path),))
        reports = tuple(self._mount(mount, row) for mount in self._covering(row))
        if path is not None:
            reports = tuple(
                sorted(reports, key=lambda report: (report.path != path, not is_under(path, report.directory)))
            )
        paths = tuple(self._paths_of(row.file_id))
        if path in paths or (path is None and paths):
            shown = ", ".join(paths)
            return Explanation(True, "file", None, f"It is shown at {shown}.", path, row, paths, reports)
        reason, message = self._why_not(row, path, reports, paths)
        return Explanation(False, "file", reason, message, path, row, paths, reports)

    def _why_not(
        self, row: FileRow, path: str | None, reports: Sequence[MountReport], paths: Sequence[str]
    ) -> tuple[Reason, str]:
        hidden = [report for report in reports if report.reason is not None]
        if path is not None:
            here = [report for report in hidden if is_under(path, report.directory)]
            hidden = sorted(here, key=lambda report: (report.path != path, -len(report.directory)))
        if hidden:
            first = hidden[0]
            assert first.reason is not None
            return first.reason, first.message
        if paths:
            return "elsewhere", f"It is not shown there; it is shown at {', '.join(paths)}."
        return "no_mount", f"No mount covers {row.export_path} of {row.node_id}."

    def _covering(self, row: FileRow) -> Iterator[Mount]:
        return (mount for mount in self._state.tree.mounts() if mount.covers(row.node_id, row.parent))

    def _mount(self, mount: Mount, row: FileRow) -> MountReport:
        chains = tuple(self._chain(mount, link, row) for link in mount.links if link.steps or not link.chain.passes_all)
        place = mount.place_of(row.parent)
        wanted = join(place, row.name)
        reason: Reason | None = None
        message, shown_at, winner = "", wanted, None
        failing = next((chain for chain in chains if not chain.passes), None)
        if mount.problem:
            reason, message = "broken_mount", f"The mount in {mount.directory} shows nothing: {mount.problem}."
        elif failing is not None:
            reason = "inherited_step" if failing.inherited else "step"
            message = _excluded(mount, failing)
        else:
            shown, winner, message = self._conflict(place, row)
            if shown is None:
                reason = "conflict"
            else:
                shown_at = join(place, shown)
        return MountReport(
            directory=mount.directory,
            mount_id=mount.mount_id,
            node_id=mount.node_id,
            export_path=mount.export_path,
            strategy="flatten" if mount.flatten else "prefix_replace",
            shown=reason is None,
            path=shown_at,
            reason=reason,
            message=message,
            winner=winner,
            chains=chains,
        )

    def _chain(self, mount: Mount, link: Link, row: FileRow) -> ChainReport:
        facts, now = facts_of(row), self._state.now()
        verdicts = link.chain.explain(facts, self._state.lookup, now)
        return ChainReport(
            origin=link.origin,
            inherited=link.origin not in (None, mount.directory),
            passes=link.chain.verdict(facts, self._state.lookup, now),
            steps=tuple(
                StepReport(
                    number=None if verdict.index is None else verdict.index + 1,
                    op=verdict.op,
                    matched=verdict.matched,
                    result=verdict.result,
                    note=verdict.note,
                    step=None if verdict.index is None else dict(link.steps[verdict.index]),
                )
                for verdict in verdicts
            ),
        )

    def _conflict(self, place: str, row: FileRow) -> tuple[str | None, str | None, str]:
        """The name it is shown by or None, the id of the file that won the name it wanted, and a sentence."""
        _, outcomes = decide(collect(self._state, place))
        outcome = next((outcome for outcome in outcomes if outcome.candidate.file_id == row.file_id), None)
        if outcome is None or (outcome.winner is not None and outcome.winner.file_id == row.file_id):
            return row.name, None, f"It passes every step, and is shown in {place}."
        if outcome.winner is None:
            cause, winner = f"a directory in {place} has its name", None
        else:
            winner = outcome.winner.file_id
            cause = f"{outcome.winner.export_path} of {outcome.winner.node_id} is newer and has its name in {place}"
        if outcome.name is None:
            return None, winner, f"It passes every step, but {cause}."
        return outcome.name, winner, f"It is shown as {outcome.name!r}: {cause}."

    # -- what a path could stand for -------------------------------------------------------------------------------

    def _sources(self, path: str) -> Iterator[tuple[str, str]]:
        """(node id, export path) of the files that would be at this virtual path, and the path itself on every node."""
        for mount in self._state.tree.mounts_over(parent_of(path)):
            source = mount.source_of(parent_of(path))
            if source is not None and is_under(source, mount.root):
                for node_id in self._state.nodes_of(mount):
                    yield node_id, join(source, name_of(path))
        yield from self._everywhere(path)

    def _everywhere(self, export_path: str) -> Iterator[tuple[str, str]]:
        return ((node_id, export_path) for _, node_id in self._state.reader.nodes())

    def _candidates(self, path: str) -> Iterator[FileRow]:
        """Indexed files that the path may mean, the likeliest first."""
        active, deleted = self._indexed(self._sources(path))
        yield from active
        yield from self._flattened(path)
        yield from deleted

    def _indexed(self, places: Iterable[tuple[str, str]]) -> tuple[list[FileRow], list[FileRow]]:
        """The files at these (node id, export path), and those that were there."""
        found = [self._state.reader.file_by_path(node_id, path, deleted=True) for node_id, path in places]
        rows = [row for row in found if row is not None]
        active = [row for row in rows if row.status == "active"]
        return active, [row for row in rows if row.status != "active"]

    def _flattened(self, path: str) -> Iterator[FileRow]:
        """Files of that name anywhere under a mount that flattens."""
        mounts = [mount for mount in self._state.tree.mounts_at.get(parent_of(path), ()) if mount.flatten]
        if not mounts:
            return
        for batch in self._state.reader.scan_files("name = ?", (name_of(path),)):
            for row in self._state.reader.file_rows(batch.docs):
                if any(mount.covers(row.node_id, row.parent) for mount in mounts):
                    yield row


def _excluded(mount: Mount, chain: ChainReport) -> str:
    last = chain.steps[-1] if chain.steps else None
    if chain.origin is None:
        where = f"the mount of {mount.export_path} in {mount.directory}"
    elif chain.inherited:
        where = f"{chain.origin}, which {mount.directory} inherits,"
    else:
        where = chain.origin
    if last is None or last.number is None:
        return f"No step of {where} includes it, and what no step includes is left out."
    return f"Step {last.number} ({last.op}) of {where} excludes it."
