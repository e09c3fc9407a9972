"""Keys of a directory's mounts and steps that nobody reads, and nodes that nobody knows: mostly typing errors, so they
are named. Pure.

They stay in the document, for they may come from a newer version or a plugin that is not here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from mosaicfs_core.documents.types import Mount, MountSource
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.rules import CORE_OPS, STEP_FIELDS
from mosaicfs_core.similar import similar

_MOUNT: Final = frozenset(field.encode_name for field in msgspec.structs.fields(Mount))
_SOURCE: Final = frozenset(field.encode_name for field in msgspec.structs.fields(MountSource))


def unknown_keys(document: Mapping[str, Any], ops: Mapping[str, StepOp]) -> list[str]:
    """A sentence for each unknown key of a valid document's steps and mounts, which begins with its place
    (``mounts[0].steps[1].invrt``)."""
    return [
        f"{prefix}{key}: unknown key, it is kept but has no effect{_near(key, known)}"
        for prefix, given, known in _places(document, ops)
        for key in given
        if key not in known
    ]


def unknown_nodes(mounts: Sequence[Mapping[str, Any]], known: Collection[str]) -> list[str]:
    """A sentence for each mount whose source is a node that is none of ``known``, which begins with its place. Such a
    mount may be right one day, and shows nothing until then."""
    found = []
    for number, mount in enumerate(mounts):
        node_id = mount["source"]["node_id"]
        if node_id != "*" and node_id not in known:
            near = similar(node_id, known)
            hint = f"did you mean {near[0]}?" if near else f"nodes are {', '.join(sorted(known)) or 'none yet'}"
            place = f"mounts[{number}].source.node_id"
            found.append(f"{place}: there is no node {node_id!r}, so nothing is shown; {hint}")
    return found


def _places(
    document: Mapping[str, Any], ops: Mapping[str, StepOp]
) -> Iterator[tuple[str, Iterable[str], frozenset[str]]]:
    yield from _steps("", document, ops)
    for number, mount in enumerate(document.get("mounts") or ()):
        prefix = f"mounts[{number}]."
        yield prefix, mount, _MOUNT
        yield f"{prefix}source.", mount["source"], _SOURCE
        yield from _steps(prefix, mount, ops)


def _steps(
    prefix: str, holder: Mapping[str, Any], ops: Mapping[str, StepOp]
) -> Iterator[tuple[str, Iterable[str], frozenset[str]]]:
    for number, step in enumerate(holder.get("steps") or ()):
        op = CORE_OPS.get(step["op"]) or ops.get(step["op"])
        # An op whose plugin is missing, or that does not describe its fields, may have any.
        if op is not None and (properties := op.fields.get("properties")) is not None:
            yield f"{prefix}steps[{number}].", step, STEP_FIELDS | properties.keys()


def _near(key: str, known: frozenset[str]) -> str:
    close = similar(key, known)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
