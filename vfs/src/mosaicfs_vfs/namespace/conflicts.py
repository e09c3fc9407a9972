"""Which of several files of one name a directory shows, and under which names. Pure.

The newest file wins (then the lowest node id, then the lowest export path); a directory wins over every file. A loser
whose mount says ``last_write_wins`` is hidden; one whose mount says ``suffix_node_id`` stands beside the winner as
``name (node-id).ext``, and as ``name (node-id 1a2b3c4d).ext``, with a hash of its path, where several of one node
compete or the first form is taken. The outcome depends on the set of files alone, never on the order they come in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from mosaicfs_core.documents.ids import path_hash
from mosaicfs_core.documents.paths import unescape

MAX_NAME: Final = 255  # bytes, of a name in its native form
_LONGEST_EXTENSION: Final = 32  # what follows a later dot is no extension, and may be cut


class Candidate(NamedTuple):
    """A file that a mount wants to show under ``name``; ``file_id``, its short id, tells it from every other.

    ``suffix``: the mount's policy is ``suffix_node_id``.
    """

    file_id: str
    name: str
    mtime: int
    node_id: str
    export_path: str
    suffix: bool


class Outcome(NamedTuple):
    """What became of a candidate: the name it is shown by or None, and who won the name it wanted.

    ``winner`` is None where a directory has the name, and the candidate itself where it won.
    """

    candidate: Candidate
    name: str | None
    winner: Candidate | None


def settle(
    collisions: Mapping[str, Sequence[Candidate]], directories: Collection[str], names: Collection[str]
) -> list[Outcome]:
    """Decide every collision of one directory.

    ``collisions`` maps a name to all who want it: two or more files, or one that a directory stands against.
    ``directories`` are the names of the sub-directories, ``names`` all names that files want. One file wanted by
    several mounts counts once, as suffixed if one of them says so.
    """
    taken = {*directories, *names}
    outcomes: list[Outcome] = []
    losers: list[tuple[Candidate, Candidate | None, bool]] = []
    for name, group in collisions.items():
        ordered = sorted(_distinct(group), key=_rank)
        winner = None
        if name not in directories:
            winner = ordered.pop(0)
            outcomes.append(Outcome(winner, name, winner))
        nodes = [candidate.node_id for candidate in ordered] + ([winner.node_id] if winner else [])
        losers += [(candidate, winner, nodes.count(candidate.node_id) > 1) for candidate in ordered]
    for candidate, winner, crowded in sorted(losers, key=_naming_order):
        shown = None
        if candidate.suffix:
            shown = next(name for name in _suffixed_names(candidate, crowded) if name not in taken)
            taken.add(shown)
        outcomes.append(Outcome(candidate, shown, winner))
    return outcomes


def with_suffix(name: str, label: str) -> str:
    """``stem (label).ext``, the stem shortened by whole characters where the name would pass 255 bytes."""
    stem, dot, extension = name.rpartition(".")
    if not stem.strip(".") or len(extension) > _LONGEST_EXTENSION:
        stem, dot, extension = name, "", ""
    tail = f" ({label}){dot}{extension}"
    room = MAX_NAME - len(unescape(tail))
    while len(unescape(stem)) > room:
        stem = stem[:-1]
    return stem + tail


def _distinct(group: Sequence[Candidate]) -> list[Candidate]:
    best: dict[str, Candidate] = {}
    for candidate in group:
        known = best.get(candidate.file_id)
        if known is None or (candidate.suffix and not known.suffix):
            best[candidate.file_id] = candidate
    return list(best.values())


def _rank(candidate: Candidate) -> tuple[int, str, str, str]:
    return -candidate.mtime, candidate.node_id, candidate.export_path, candidate.file_id


def _naming_order(loser: tuple[Candidate, Candidate | None, bool]) -> tuple[str, str, str, str]:
    candidate = loser[0]
    return candidate.name, candidate.node_id, candidate.export_path, candidate.file_id


def _suffixed_names(candidate: Candidate, crowded: bool) -> Iterator[str]:
    """Ever longer suffixes; the last one no two files share."""
    if not crowded:
        yield with_suffix(candidate.name, candidate.node_id)
    digest = path_hash(candidate.export_path)
    for label in (digest[:8], digest[:16], f"{digest[:16]} {candidate.file_id.rpartition('.')[2]}"):
        yield with_suffix(candidate.name, f"{candidate.node_id} {label}")
