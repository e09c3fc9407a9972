"""Where the program ``mosaicfs`` starts.

``mosaicfs plugin run NAME`` is a new process for every event, and half of what it would cost is the command line
around it: written so, it goes without.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    if len(sys.argv) == 4 and sys.argv[1:3] == ["plugin", "run"] and not sys.argv[3].startswith("-"):
        sys.exit(_run_plugin(sys.argv[3]))
    from mosaicfs_core.cli.main import main as whole

    whole()


def _run_plugin(name: str) -> int:
    """The command ``plugin run``, with the error on standard error as the frame would say it; its exit code."""
    from mosaicfs_core.cli.plugin_running import run_package
    from mosaicfs_core.errors import PluginError
    from mosaicfs_core.printing import printable

    try:
        run_package(name)
    except PluginError as error:
        print(f"mosaicfs: {printable(' '.join(error.message.split()))}", file=sys.stderr)
        return 1
    return 0
