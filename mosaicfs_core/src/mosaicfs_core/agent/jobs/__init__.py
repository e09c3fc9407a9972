"""Plugins at work: the job queue's workers, health checks, capabilities, and what the user is told of all that."""

from mosaicfs_core.agent.jobs.keeper import JobKeeper

__all__ = ["JobKeeper"]
