"""The program ``mosaicfs``: which command lives in which module.

Nothing but click and the error tree is imported until a command is chosen, so that ``mosaicfs --help`` and shell
completion answer at once. A module of ``COMMANDS`` has ``register(cli, context)``, which adds the command to the group
that it is given; commands of plugins come through the hook ``mosaicfs_commands`` in the same shape.
"""

from __future__ import annotations

from typing import Final

from mosaicfs_core.cli.frame import CoreCommand, root_group

COMMANDS: Final[dict[str, CoreCommand]] = {
    "up": CoreCommand(
        "mosaicfs_core.cli.commands.up", "Start MosaicFS here: index folders, serve the API, mount the tree."
    ),
    "down": CoreCommand("mosaicfs_core.cli.commands.up", "Stop the MosaicFS that runs on this home."),
    "server": CoreCommand("mosaicfs_core.cli.commands.server", "Run the control plane alone, for agents elsewhere."),
    "agent": CoreCommand("mosaicfs_core.cli.commands.agent", "Make this machine a node of a control plane elsewhere."),
    "status": CoreCommand("mosaicfs_core.cli.commands.status", "Show what runs, what is indexed and what is wrong."),
    "nodes": CoreCommand("mosaicfs_core.cli.commands.nodes", "List, inspect and rename nodes."),
    "files": CoreCommand("mosaicfs_core.cli.commands.files", "Find, inspect and fetch files."),
    "annotations": CoreCommand(
        "mosaicfs_core.cli.commands.annotations", "Show what plugins said of files, and have it made anew."
    ),
    "notifications": CoreCommand(
        "mosaicfs_core.cli.commands.notifications", "List what needs attention, and take note of it."
    ),
    "query": CoreCommand("mosaicfs_core.cli.commands.query", "Ask the plugins of all machines, as full-text search."),
    "credentials": CoreCommand("mosaicfs_core.cli.commands.credentials", "Create, list and revoke access keys."),
    "system": CoreCommand("mosaicfs_core.cli.commands.system", "Health of the instance and re-indexing."),
    "doctor": CoreCommand("mosaicfs_core.cli.commands.doctor", "Check this machine and say how to mend what is wrong."),
    "plugin": CoreCommand("mosaicfs_core.cli.plugin_commands", "List, check, write and switch plugins."),
    "completion": CoreCommand("mosaicfs_core.cli.frame_completion", "Print the completion script of a shell."),
}

cli = root_group(COMMANDS)


def main() -> None:
    """Entry point of the console script."""
    cli()


if __name__ == "__main__":
    main()
