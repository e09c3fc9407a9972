"""What a node can be asked, and what it lacks of that at present, in its ``node`` document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosaicfs_core.documents import ids, times
from mosaicfs_core.plugins.context import CoreServices


async def write_capabilities(core: CoreServices) -> None:
    """Say in this machine's node document what can be asked of it, where that says something else. A machine that is
    not registered yet has no document: it is written when it is."""

    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        if present is None:
            return None
        changed = with_capabilities(core, present)
        return None if changed == present else {**changed, "agent_version": present.get("agent_version", 0) + 1}

    await core.store.update(ids.node_document_id(core.node_id), apply)


def with_capabilities(core: CoreServices, document: Mapping[str, Any]) -> dict[str, Any]:
    """The node document with what can be asked of this node now. Before it is known which plugins work here nothing
    that it says is taken back: whoever asks meanwhile is told that they are being started."""
    rest = {name: value for name, value in document.items() if name not in ("capabilities", "lacking")}
    said: list[str] = list(document.get("capabilities", ()))
    if core.lacking is None:
        kept = {"lacking": document["lacking"]} if "lacking" in document else {}
        return {**rest, "capabilities": sorted({*said, *core.capabilities()}), **kept}
    lacking = _lacking(core.lacking, document)
    return {**rest, "capabilities": core.capabilities(), **({"lacking": lacking} if lacking else {})}


def _lacking(reasons: Mapping[tuple[str, str], str], document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The entries for what is lacking now; what was lacking before is so since then, for whatever reason."""
    since = {(one["capability"], one["plugin_name"]): one["since"] for one in document.get("lacking", ())}
    now = times.now_text()
    return [
        {"capability": key[0], "plugin_name": key[1], "reason": reason, "since": since.get(key, now)}
        for key, reason in sorted(reasons.items())
    ]
