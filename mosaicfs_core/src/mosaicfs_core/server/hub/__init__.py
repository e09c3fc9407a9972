"""The hub: a database elsewhere that several control planes replicate with, and the lease that is kept there."""

from mosaicfs_core.server.hub.address import hub_address
from mosaicfs_core.server.hub.leasing import LeaseKeeper, Timing
from mosaicfs_core.server.hub.link import HubLink, running_hub

__all__ = ["HubLink", "LeaseKeeper", "Timing", "hub_address", "running_hub"]
