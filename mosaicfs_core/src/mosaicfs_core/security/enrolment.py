"""What an enrolled machine knows of its instance: the home's ``enrolment.json``. No secret is in it."""

from __future__ import annotations

from typing import Final

import msgspec

from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home, write_private

ENROL_AGAIN: Final = "a new key and `mosaicfs agent init` enrol it again"
"""What mends an enrolment that the control plane has lost: short, for a WebSocket's last word has 123 bytes."""


def unknown_to_control_plane(node_id: str) -> str:
    """What a control plane says to a machine that it does not know."""
    return f"the control plane does not know {node_id}; {ENROL_AGAIN}"


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """Whose agent this home is.

    ``urls`` are the control plane's addresses, the preferred one first; ``control_plane_key`` is its public key and
    ``ca_pem`` its authority, which was compared with what the user pinned. ``access_key_id`` is the key that the node
    was enrolled with, or None when a signed-in user enrolled it. ``place`` is where the home lay then
    (``presence.place_of``).
    """

    urls: tuple[str, ...]
    node_id: str
    name: str
    control_plane_id: str
    control_plane_key: str
    ca_pem: str
    access_key_id: str | None = None
    place: str | None = None


def load(home: Home) -> Enrolment | None:
    """The enrolment of a home, None when it is no agent of anybody. Raises ``UserError`` when the file is damaged."""
    try:
        return msgspec.json.decode(home.enrolment_file.read_bytes(), type=Enrolment)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{home.enrolment_file} is damaged ({error}); delete it and run `mosaicfs agent init URL` with a further"
            " key of its control plane: the machine stays what it was"
        ) from None


def save(home: Home, enrolment: Enrolment) -> None:
    """Write the enrolment, in one step."""
    write_private(home.enrolment_file, msgspec.json.format(msgspec.json.encode(enrolment), indent=2) + b"\n")
