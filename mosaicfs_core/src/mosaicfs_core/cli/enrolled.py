"""The ways of an enrolled machine to its control plane."""

from __future__ import annotations

from typing import Final

from mosaicfs_core.agent.link.connect import connector
from mosaicfs_core.cli.runtime import ControlPlane
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.security import enrolment, joining
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.presence import Process, place_of
from mosaicfs_core.security.requests import CONNECT_SECONDS, SignedRequests
from mosaicfs_core.security.several import Several

NEXT_SECONDS: Final = 4.0
"""How long an address may take to be connected with where there are others."""


def control_plane_of(home: Home) -> ControlPlane:
    """The control plane that the machine of this home is enrolled with. Raises ``UserError`` when there is none."""
    known = enrolment.load(home)
    if known is None:
        raise UserError(
            f"{home.path} is not enrolled with a control plane yet: mosaicfs agent init https://SERVER:6672 does it;"
            " to have everything on this machine alone, start: mosaicfs up"
        )
    signer = joining.signer_of(known, NodeKey.of_home(home))
    process = Process.new(moved=known.place not in (None, place_of(home)))
    wait = CONNECT_SECONDS if len(known.urls) == 1 else NEXT_SECONDS
    requests = Several(
        [
            SignedRequests(url, known.control_plane_id, signer, known.ca_pem, connect_s=wait, process=process)
            for url in known.urls
        ]
    )
    return ControlPlane(known, requests, connector(requests))


def refuse_enrolled(home: Home) -> None:
    """Raise ``UserError`` where a control plane would be started on the home of another one's agent."""
    known = enrolment.load(home)
    if known is not None:
        raise UserError(
            f"{home.path} belongs to an agent of {known.urls[0]}: start it with mosaicfs agent run, or give another"
            " --home"
        )
