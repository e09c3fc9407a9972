"""What somebody may have meant by a path that the tree does not have: listings tell the id of a file's machine, while
the machine's directory is called by its name."""

from __future__ import annotations

from mosaicfs_core.errors import NotFound
from mosaicfs_vfs.namespace import Listing, Namespace
from mosaicfs_vfs.seeds import MACHINES, machine_directory


def listing_at(namespace: Namespace, path: str) -> Listing:
    """The directory at a path. Raises ``NotFound``, which names the place that may be meant."""
    try:
        return namespace.list(path)
    except NotFound as missing:
        meant = _by_name(namespace, path)
        if meant is None:
            raise
        raise NotFound(f"{missing.message}; did you mean {meant}?", path=path, meant=meant) from None


def _by_name(namespace: Namespace, path: str) -> str | None:
    """The place beneath ``/machines`` by its machine's name, for one by the machine's id."""
    if not path.startswith(MACHINES + "/"):
        return None
    node_id, _, rest = path[len(MACHINES) + 1 :].partition("/")
    name = namespace.node_name(node_id)
    if name is None:
        return None
    machine = machine_directory(name)
    for meant in (f"{machine}/{rest}", machine) if rest else (machine,):
        try:
            return namespace.resolve(meant).path
        except NotFound:  # somebody gave it another place
            continue
    return None
