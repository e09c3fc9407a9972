"""Plugins at work: the job queue's workers, health checks, capabilities, and what the user is told of all that."""

from mosaicfs_core.agent.jobs.keeper import JobKeeper
from mosaicfs_core.agent.jobs.methods import JobMethods

__all__ = ["JobKeeper", "JobMethods"]
