"""What is installed on this node, told and looked at again."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from mosaicfs_core.plugins import environments
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.running.kinds import programs


class Rescanned(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed on a node now: packages and programs as its status tells them. ``changed`` names the packages
    that are others than before."""

    items: list[dict[str, Any]]
    changed: list[str]


def available_plugins(core: CoreServices) -> list[dict[str, Any]]:
    """What can run on this node, as ``agent_status`` tells it: packages and programs, good and bad."""
    found: list[dict[str, Any]] = []
    for plugin in core.host.plugins.values():
        waits = {} if plugin.restart is None else {"restart": plugin.restart}
        found.append({"name": plugin.name, "status": plugin.status, "error": plugin.error, **waits})
    for program in programs(core.home, core.host):
        status, kind = "failed" if program.problem else "ok", program.plugin_type
        found.append({"name": program.name, "status": status, "error": program.problem, "type": kind})
    return found


async def rescan(core: CoreServices) -> Rescanned:
    """Look again at which packages are installed, and put to work what has come."""
    changed = await core.rescans.look(partial(environments.rescan, core.home, core.host))
    return Rescanned(items=available_plugins(core), changed=sorted(changed))
