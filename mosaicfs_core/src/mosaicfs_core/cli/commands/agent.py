"""``mosaicfs agent``: this machine as a node of a control plane that runs elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mosaicfs_core.cli.commands import agent_init

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``agent``."""

    @cli.group("agent", short_help="Make this machine a node of a control plane elsewhere.")
    def agent() -> None:
        """Make this machine a node of a control plane that runs elsewhere."""

    agent_init.add(agent, context)
