"""What the control plane takes of the ``node`` document that a node sends: the node's own group of fields. Pure.

The document has two owners and travels whole, so what arrives holds the control plane's fields as the node last saw
them, or as it would like them. Nothing of them is looked at: they, and fields that nobody here knows, are written as
they stand here, in the furthest of the live leaves. So no revision of a node's is behind any that was here before it,
whichever of them wins.

A revision whose body would differ for that is not kept under its id, which would leave the sender with a body that
nobody corrects. It becomes an ancestor without a body, as if it had been replaced at once, and its child is what is
kept: the sender lacks that, fetches it, and both sides have the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mosaicfs_core.documents import NODE_AGENT_FIELDS, is_valid, validate
from mosaicfs_core.documents.merge import merge_leaves
from mosaicfs_core.errors import NotAllowed
from mosaicfs_core.store.revisions import encode, new_hash, path_of
from mosaicfs_core.store.revtree import format_rev


def taken(document: Mapping[str, Any], leaves: Sequence[Mapping[str, Any]], *, replicated: bool) -> dict[str, Any]:
    """What to write instead of a node's own document. ``leaves`` are the live ones that are stored, the winner first;
    ``replicated`` when the document brings its revision.

    Raises ``NotAllowed`` for a node that was never registered, ``InvalidDocument`` for what would fail its schema (in
    quarantine it would hide what the control plane says of the node), ``UserError`` for a history that is none.
    """
    understood = [leaf for leaf in leaves if is_valid(leaf)]
    if not understood:
        raise NotAllowed("a node is registered before it describes itself")
    body = _described(document, merge_leaves("node", understood))
    validate({**body, "_id": document["_id"]})
    special = {key: value for key, value in document.items() if key[:1] == "_"}
    if not replicated or {**body, **special} == document:
        return {**body, **special}
    path = path_of(document)
    generation, parent = path[0][0] + 1, format_rev(path[0])
    digests = [new_hash(parent, False, encode(body)), *[digest for _, digest in path]]
    revisions = {"start": generation, "ids": digests}
    return {**body, **special, "_rev": format_rev((generation, digests[0])), "_revisions": revisions}


def _described(document: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    agents = {field: document[field] for field in NODE_AGENT_FIELDS if field in document}
    return {field: value for field, value in stored.items() if field not in NODE_AGENT_FIELDS} | agents
