"""What an instance can be asked at present, and what it is there to answer and cannot. Pure.

Whoever searches must learn of both: that nothing was found says something only when everybody could look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mosaicfs_core.agent.jobs.subscriptions import endpoints_of
from mosaicfs_core.hooks import Endpoint, RunningPlugin
from mosaicfs_core.plugins.instances import Instance

LackReason: TypeAlias = Literal["broken", "starting", "down", "withdrawn"]
"""``broken``: it cannot run as it is installed or set; ``starting``: it was not begun yet; ``down``: it is to run and
does not work (a process that ended, a program that is not connected); ``withdrawn``: it says that it cannot answer."""

_QUERY: Final = "mosaicfs_query"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The questions that an instance answers now, and the capabilities that it lacks: why in a word and in a
    sentence."""

    endpoints: tuple[Endpoint, ...] = ()
    lacking: frozenset[str] = frozenset()
    reason: LackReason = "starting"
    detail: str = ""


def offer_of(
    instance: Instance, running: RunningPlugin | None, withdrawn: Collection[str], report: Mapping[str, Any]
) -> Offer:
    """What an instance offers, ``running`` being what runs it, ``withdrawn`` the capabilities that it took back, and
    ``report`` what it says of itself. One that somebody wants not to run offers and lacks nothing."""
    if not _is_wanted(instance):
        return Offer()
    endpoints, capabilities = endpoints_of(instance), _capabilities(instance)
    if instance.problem is not None:
        return Offer(lacking=capabilities, reason="broken", detail=f"it cannot run: {instance.problem}")
    if _QUERY not in instance.hooks:
        return Offer()
    if running is None:
        return Offer(lacking=capabilities, reason="starting", detail="it is being started")
    if (problem := running.problem) is not None:
        return Offer(lacking=capabilities, reason="down", detail=f"it does not work at present: {problem}")
    return Offer(
        endpoints=tuple(one for one in endpoints if one.capability not in withdrawn),
        lacking=capabilities & frozenset(withdrawn),
        reason="withdrawn",
        detail=_own_words(report),
    )


def _is_wanted(instance: Instance) -> bool:
    """Whether it is to answer. What is paused is: a pause holds back its work on files alone."""
    kept_out = instance.plugin is not None and instance.plugin.status == "disabled"
    return instance.enabled and not kept_out and not instance.left_behind


def _capabilities(instance: Instance) -> frozenset[str]:
    """What it is there to answer, also where its package does not load to say so."""
    known = frozenset(endpoint.capability for endpoint in endpoints_of(instance))
    return known or frozenset(instance.document.get("answers") or ())


def _own_words(report: Mapping[str, Any]) -> str:
    said = report.get("detail") if report.get("status") != "healthy" else None
    return f"it cannot answer this at present: {said}" if said else "it says that it cannot answer this at present"
