"""Arguments of the command line as indexes write them and the API wants them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mosaicfs_core.errors import NotFound, UserError
from mosaicfs_core.mount_table import own_points, resolved, tree_path

if TYPE_CHECKING:
    from mosaicfs_core.hooks.context import Api

_IDS = ("node-", "control-plane-")
_SURROGATES = range(0xDC80, 0xDD00)
_WRITTEN = 0x10FF00 - 0xDC00


def written_argument(argument: str) -> str:
    """A name or path that the shell gave in written form: bytes that are not UTF-8 (Python holds them as surrogates)
    become ``U+10FFNN``."""
    return "".join(
        chr(ord(character) + _WRITTEN) if ord(character) in _SURROGATES else character for character in argument
    )


def tree_argument(argument: str) -> str | None:
    """The place in the tree, in written form, of a path of this machine that lies beneath a mount of MosaicFS; None for
    one that does not. The mount shows files of all machines, and they are indexed by where they really are."""
    native = resolved(os.path.abspath(os.path.expanduser(argument)), own_points())
    place = tree_path(native)
    return None if place == native else written_argument(place)


def node_argument(api: Api, argument: str | None) -> str:
    """The id of the node that an argument names by its id or its friendly name; without one, that of the instance which
    is asked. An id is taken as it is, known or not. Raises ``NotFound`` for a name that no node has, ``UserError`` when
    several nodes have it."""
    if argument is None:
        return str(api.get("system/info")["node_id"])
    page = api.get("nodes", limit=500)
    named = [str(node["id"]) for node in page["items"] if argument in (node["id"], node["friendly_name"])]
    if len(named) > 1:
        raise UserError(f"several nodes are called {argument}: {', '.join(named)}", field="node")
    if not named and not argument.startswith(_IDS) and page["total"] <= len(page["items"]):
        raise NotFound(f"there is no node {argument}; `mosaicfs nodes list` shows them", node=argument)
    return named[0] if named else argument
