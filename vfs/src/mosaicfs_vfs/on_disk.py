"""The last word on a file: what this node's agent finds where one that is not indexed would be, and whether the bytes
of an indexed one may be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from mosaicfs_core.content import DiskWitness, Finding
from mosaicfs_core.store import FileRow
from mosaicfs_vfs.namespace.explain import Explanation, Reason

LOOKED_AT: Final = 10
"""Places looked at for one question."""
_REASONS: Final[Mapping[str, Reason]] = {
    "ignored": "ignored",
    "symlink": "symlink",
    "special": "special",
    "unreadable": "unreadable",
    "inaccessible": "unreadable",
    "missing": "not_on_disk",
    "file": "not_crawled",
}


async def with_disk(explanation: Explanation, node_id: str, agent: DiskWitness) -> Explanation:
    """The explanation with what is on the disk of ``node_id``: for a file that is not indexed there, what keeps it out
    (something that is there counts for more than something that is not), and for one of its indexed files, that it may
    not be read."""
    file = explanation.file
    if file is not None and file.status == "active":
        return explanation if file.node_id != node_id else await _with_refusal(explanation, file, agent)
    found: tuple[str, Finding] | None = None
    for node, export_path in explanation.places[:LOOKED_AT]:
        if node != node_id:
            continue
        finding = await agent.look(export_path)
        if finding is not None and (found is None or found[1].kind == "missing"):
            found = (export_path, finding)
    if found is None:
        return explanation
    elsewhere = explanation.places[0][0] != node_id
    if found[1].kind == "missing" and (elsewhere or explanation.reason == "deleted"):
        return explanation
    reason = _REASONS.get(found[1].kind, "never_indexed")
    return msgspec.structs.replace(explanation, reason=reason, message=_sentence(f"{found[0]} of {node_id}", *found))


async def _with_refusal(explanation: Explanation, file: FileRow, agent: DiskWitness) -> Explanation:
    refused = await agent.refused(file.export_path)
    if refused is None:
        return explanation
    said = f"{explanation.message} Its bytes cannot be read on {file.node_id}: {refused}."
    return msgspec.structs.replace(explanation, message=said)


def _sentence(where: str, path: str, finding: Finding) -> str:
    if finding.kind == "missing":
        return f"{where} was never indexed: {finding.message}."
    if finding.kind == "file":
        return f"{where} exists, but is not indexed yet: `mosaicfs nodes crawl` looks for changes now."
    if finding.kind in ("directory", "inactive", "outside"):
        return f"{where} is not indexed: {finding.message}."
    through = "" if finding.export_path == path else f" with {finding.export_path}"
    return f"{where} is left out of the index{through}: {finding.message}."
