"""Merging the leaves of a document that was edited at two places at once, without a common ancestor. Pure.

``merge`` of two bodies is commutative, associative and idempotent, so replicas that merge at the same time, in
whatever order and grouping, arrive at the same body (and the store then gives it the same revision id). It is a
join: each part of a body that has an owner or a time of its own is the greater of the two in some total order, and what
no rule orders is ordered by its canonical JSON. Bodies are documents without the fields that begin with an
underscore; both must be valid documents of one type.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Final, TypeAlias

import msgspec

from mosaicfs_core.documents.machines import NODE_AGENT_FIELDS, NODE_CONTROL_FIELDS
from mosaicfs_core.documents.standing import number_of

Body: TypeAlias = dict[str, Any]
Merge: TypeAlias = Callable[[Body, Body], Body]

_canonical = msgspec.json.Encoder(order="sorted").encode


def merge_leaves(type_name: str, leaves: Sequence[Mapping[str, Any]]) -> Body:
    """The body that the live leaves of a document amount to; the winning one comes first.

    A type without a rule of its own keeps the winner's. What comes out for one set of leaves does not depend on the
    order of the losers.
    """
    bodies = [{key: value for key, value in leaf.items() if key[:1] != "_"} for leaf in leaves]
    rule = MERGES.get(type_name)
    return bodies[0] if rule is None else reduce(rule, bodies)


def merge_nodes(a: Body, b: Body) -> Body:
    """Each group of fields whole, from the side where its owner counted further; the control plane's from the side that
    knows the later revocation, however often anything else was written at the other."""
    if a == b:
        return a
    agents, controls = ([_part(side, fields) for side in (a, b)] for fields in (NODE_AGENT_FIELDS, NODE_CONTROL_FIELDS))
    agent = max(agents, key=lambda group: (group.get("agent_version", 0), _canonical(group)))
    control = max(controls, key=lambda group: (number_of(group), group.get("control_version", 0), _canonical(group)))
    return agent | control | _greater_fields(a, b, without={*NODE_AGENT_FIELDS, *NODE_CONTROL_FIELDS})


def merge_credentials(a: Body, b: Body) -> Body:
    """Whether it holds from the side that knows the later revocation, and disabled when both know the same one; of the
    rest nothing that is there is lost."""
    if a == b:
        return a
    standings = [_part(side, _STANDING) for side in (a, b)]
    standing = max(standings, key=lambda part: (number_of(part), part.get("enabled") is False, _canonical(part)))
    return {**_greater_fields(a, b, without=_STANDING), **standing}


_STANDING: Final = ("enabled", "revocation")


def merge_label_assignments(a: Body, b: Body) -> Body:
    """Per label the newer of added and removed, ``added`` on a tie; a label whose times nobody knows stays."""
    if a == b:
        return a
    times: dict[str, Body] = {}
    for label in sorted({*a.get("label_times", {}), *b.get("label_times", {})}):
        mine, theirs = (side.get("label_times", {}).get(label, {}) for side in (a, b))
        times[label] = _greater_fields(mine, theirs)
    listed = {*a["labels"], *b["labels"]}
    labels = {label for label in listed if not _decided(times.get(label, {}))}
    labels |= {label for label, when in times.items() if _decided(when) and not _removed(when)}
    edits = [_part(side, _LATEST_EDIT) for side in (a, b)]
    latest = max(edits, key=lambda edit: (edit["updated_at"], _canonical(edit)))
    rest = _greater_fields(a, b, without={"labels", "label_times", *_LATEST_EDIT})
    return {**rest, **latest, "labels": sorted(labels), **({"label_times": times} if times else {})}


_LATEST_EDIT: Final = ("updated_at", "updated_by")


def _decided(times: Body) -> bool:
    return times.get("added") is not None or times.get("removed") is not None


def _removed(times: Body) -> bool:
    added, removed = times.get("added"), times.get("removed")
    return removed is not None and (added is None or removed > added)


def merge_notifications(a: Body, b: Body) -> Body:
    """The newest occurrence, in the furthest state that either writer brought that occurrence to.

    An acknowledgement belongs to the occurrence that its writer saw: it holds against a condition that is merely still
    true (``last_seen`` moved on) and does not silence one that came back meanwhile, whose count is higher. The time of
    the latest acknowledgement is kept in any case.
    """
    if a == b:
        return a
    count = max(_count(a), _count(b))
    newest = [side for side in (a, b) if _count(side) == count]
    content = max(
        (_without(side, _OF_WRITERS) for side in newest), key=lambda part: (part["last_seen"], _canonical(part))
    )
    found = {
        **content,
        "occurrence_count": count,
        "first_seen": min(a["first_seen"], b["first_seen"]),
        "status": max((side.get("status", "active") for side in newest), key=_STATES.index),
    }
    for field, sides in (("acknowledged_at", (a, b)), ("resolved_at", newest)):
        known = [side[field] for side in sides if side.get(field) is not None]
        if known:
            found[field] = max(known)
    return found


_STATES: Final = ("active", "acknowledged", "resolved")
"""The states of one occurrence, which only go forward: coming back is a new occurrence."""
_OF_WRITERS: Final = frozenset({"occurrence_count", "first_seen", "status", "acknowledged_at", "resolved_at"})


def _count(notification: Body) -> int:
    return int(notification.get("occurrence_count", 1))


def _part(body: Body, fields: Iterable[str]) -> Body:
    return {field: body[field] for field in fields if field in body}


def _without(body: Body, fields: Collection[str]) -> Body:
    return {field: value for field, value in body.items() if field not in fields}


def _greater_fields(a: Body, b: Body, without: Collection[str] = ()) -> Body:
    """Field by field the greater value by canonical JSON (for times: the later one), an absent one being the least."""
    found: Body = {}
    for field in sorted({*a, *b} - {*without}):
        present = [side[field] for side in (a, b) if field in side]
        found[field] = max(present, key=lambda value: (value is not None, _canonical(value)))
    return found


MERGES: Final[Mapping[str, Merge]] = {
    "node": merge_nodes,
    "credential": merge_credentials,
    "label_assignment": merge_label_assignments,
    "notification": merge_notifications,
}
"""The types that two may write, be it two control planes. Any other has one writer, whose conflicts (a rebuilt
machine's) the winner settles."""
