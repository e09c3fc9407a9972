"""Load one plugin in a process of its own and say how it went: ``python -m mosaicfs_core.testing.probe NAME [VALUE]``.

Prints one JSON object: ``status``, ``error``, ``traceback`` and the ``hooks`` found.
"""

from __future__ import annotations

import json
import logging
import sys

from importlib_metadata import EntryPoint

from mosaicfs_core.hooks import ENTRY_POINT_GROUP
from mosaicfs_core.plugins.host import PluginHost


def main() -> None:
    """Run the probe."""
    logging.getLogger("mosaicfs").addHandler(logging.NullHandler())
    name, *value = sys.argv[1:]
    points = [EntryPoint(name=name, value=value[0], group=ENTRY_POINT_GROUP)] if value else None
    plugin = PluginHost.discover(only={name}, entry_points=points).plugins.get(name)
    if plugin is None:
        answer: dict[str, object] = {
            "status": "failed",
            "error": f"no plugin {name} is installed",
            "traceback": None,
            "hooks": [],
        }
    else:
        answer = {
            "status": plugin.status,
            "error": plugin.error,
            "traceback": plugin.traceback,
            "hooks": sorted(plugin.hooks),
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
