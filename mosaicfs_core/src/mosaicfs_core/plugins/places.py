"""Where the files of an instance lie, and so what it may say of which."""

from __future__ import annotations

from typing import NamedTuple

from mosaicfs_core.documents.paths import is_under


class Places(NamedTuple):
    """What is whose on a node, as export paths, from where one of its instances stands.

    ``own`` is the prefix of one that provides a filesystem, or the watched folders of one that does not, whose files
    lie ``on_disk``. ``others`` are the folders that the others watch.
    """

    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    on_disk: bool = True

    def holds(self, path: str) -> bool:
        """Whether a path lies in a place of its own."""
        return any(is_under(path, place) for place in self.own)

    def may_take(self, path: str) -> bool:
        """Whether a file on disk may be said to be gone, or elsewhere: it lies in an own folder or in nobody's, as it
        does once its folder is not watched any more."""
        return self.holds(path) or not any(is_under(path, place) for place in self.others)

    def __str__(self) -> str:
        """The own places, for people."""
        if self.on_disk:
            return f"its watched folders ({', '.join(self.own) or 'it has none'})"
        return f"its own {', '.join(self.own)}"
