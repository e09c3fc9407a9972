"""What a plugin must know of label documents to write and read them as the core does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rule_covers(rule: Mapping[str, Any], node_id: str, export_path: str) -> bool:
    """Whether a ``label_rule`` document is enabled and gives its labels to the file."""
    # Only now: rules need the regular expressions, and this package is imported at every start of the command line.
    from mosaicfs_core import rules

    return rules.rule_covers(rule, node_id, export_path)
