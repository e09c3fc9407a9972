"""How an instance says it is, asked again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mosaicfs_core.agent.jobs.conditions import MISSED, Conditions
from mosaicfs_core.agent.jobs.subscriptions import health_interval_of
from mosaicfs_core.errors import PluginError, Unavailable, UserError
from mosaicfs_core.hooks import HealthReport, RunningPlugin
from mosaicfs_core.plugins.instances import Instance


async def watch_health(running: RunningPlugin, instance: Callable[[], Instance | None], conditions: Conditions) -> None:
    """Ask until the instance is gone. One that is not there is not asked: that is told of elsewhere."""
    missed = 0
    while (now := instance()) is not None:
        if running.problem is None:
            try:
                report = await running.health()
            except (PluginError, Unavailable) as error:
                missed += 1
                if missed >= MISSED:
                    await conditions.health_missed(error.message)
            else:
                missed = 0
                await conditions.health_told()
                await _tell(now, report)
        await asyncio.sleep(health_interval_of(now))


async def _tell(instance: Instance, report: HealthReport) -> None:
    context = instance.context
    await context.report(report.status, report.detail)
    try:
        for notice in report.notices:
            await context.raise_notification(notice)
        for key in report.resolved:
            await context.resolve_notification(key)
    except UserError as error:
        await context.report("degraded", f"it tells of a condition without a proper key: {error.message}")
