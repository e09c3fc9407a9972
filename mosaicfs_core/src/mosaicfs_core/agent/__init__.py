"""The agent: crawls, watches, and keeps this node's documents true to its files."""

from mosaicfs_core.agent.agent import Agent
from mosaicfs_core.agent.indexer import Report

__all__ = ["Agent", "Report"]
