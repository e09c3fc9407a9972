"""Which process of a node asks. Two with one node's key are either one that was started anew, or a home and its copy.

A process names itself in a header of every request, and says whether its home lies elsewhere than where it was enrolled
(``place_of``): so a copy is told from what it was copied of, whichever of the two was heard of first. The header is no
proof and is not signed: whoever has the key is the node, and this keeps mistakes apart, not thieves.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from pathlib import Path
from typing import Final

import msgspec

from mosaicfs_core.documents.patterns import END
from mosaicfs_core.home import Home

HEADER: Final = "MosaicFS-Process"
TWICE: Final = "another machine runs as this node: its home is a copy of this one, or this one of that"
"""Why the second of two is refused."""
_MOVED: Final = ";moved"
_WRITTEN: Final = re.compile(r"([0-9A-Za-z_-]{1,64})(;moved)?" + END)
_MACHINE_IDS: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process of a node. ``name`` is its own alone, "" of one that does not tell; ``moved``: its home lies elsewhere
    than where it was enrolled."""

    name: str = ""
    moved: bool = False

    @classmethod
    def new(cls, *, moved: bool = False) -> Process:
        """This process."""
        return cls(name=secrets.token_hex(8), moved=moved)

    @property
    def header(self) -> str:
        """As it stands in the header."""
        return self.name + (_MOVED if self.moved else "")


UNTOLD: Final = Process()


def parse(header: str) -> Process:
    """The process that a header names; what is none names nobody."""
    found = _WRITTEN.match(header)
    return UNTOLD if found is None else Process(name=found[1], moved=found[2] is not None)


def place_of(home: Home) -> str:
    """A digest of the machine and the folder in which a home lies: 32 hexadecimal digits, another one for a copy."""
    where = f"{_machine()}\0{home.path.resolve()}"
    return hashlib.sha256(where.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _machine() -> str:
    for file in _MACHINE_IDS:
        try:
            if found := file.read_text("ascii", "replace").strip():
                return found
        except OSError:
            continue
    return f"{uuid.getnode():x}"  # of a network card, where the system keeps no id
