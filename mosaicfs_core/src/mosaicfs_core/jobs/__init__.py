"""The durable job queue: what plugins are to be told of files, kept in the replica, so that a change of a file and its
jobs are one transaction, and an answer and the end of its job are another. See ``docs/jobs.md``."""

from mosaicfs_core.jobs.budgets import Allowance, Budget, allowance, parse_budget
from mosaicfs_core.jobs.failures import Failures
from mosaicfs_core.jobs.forgetting import WhichAnnotations, forget
from mosaicfs_core.jobs.queue import JobQueue
from mosaicfs_core.jobs.records import (
    Counts,
    Job,
    JobPage,
    JobRow,
    JobStatus,
    Standing,
    Subscription,
    SyncProgress,
    Usage,
)

__all__ = [
    "Allowance",
    "Budget",
    "Counts",
    "Failures",
    "Job",
    "JobPage",
    "JobQueue",
    "JobRow",
    "JobStatus",
    "Standing",
    "Subscription",
    "SyncProgress",
    "Usage",
    "WhichAnnotations",
    "allowance",
    "forget",
    "parse_budget",
]
