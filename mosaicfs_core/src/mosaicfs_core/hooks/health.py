"""How an instance is, and what it wants the user to know."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from mosaicfs_core.hooks.context import Status

Severity: TypeAlias = Literal["info", "warning", "error"]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that holds now. ``key`` names it within the instance (``[a-z0-9_.:-]``, at most 100 characters); as
    long as it holds, raising it again only says that it still does."""

    key: str
    severity: Severity
    title: str
    message: str = ""


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """``status`` and a sentence for people; ``notices`` to raise and the keys of those that are over."""

    status: Status = "healthy"
    detail: str = ""
    notices: tuple[Notice, ...] = ()
    resolved: tuple[str, ...] = ()
