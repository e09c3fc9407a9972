"""Which directories of a root are followed: what a crawl enters, each before what is in it is looked at. Blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mosaicfs_plugins.localfs.ignore import ignoring_rule, read_rules
from mosaicfs_plugins.localfs.scan import Scope, join


def followed(scope: Scope, start: str) -> Iterator[str]:
    """``start``, unless it is left out, and the directories beneath it."""
    if scope.is_excluded(start) or not os.path.isdir(start):
        return
    if start != scope.root and (os.path.islink(start) or scope.hides(start, is_directory=True)):
        return
    rules = scope.rules_for(os.path.dirname(start)) if start != scope.root else scope.rules
    stack = [(start, rules)]
    while stack:
        path, rules = stack.pop()
        yield path
        rules = rules + read_rules(path)
        try:
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        for name in names:
            below = join(path, name)
            if ignoring_rule(rules, path, name, True) is None and not scope.is_excluded(below):
                stack.append((below, rules))
