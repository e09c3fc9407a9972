"""Questions that plugins answer, and the answers: what crosses ``mosaicfs_query``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

SEARCH: Final = "search"
"""The well-known capability of finding files by a text; hits have ``file_id``."""
DASHBOARD_WIDGET: Final = "dashboard_widget"
"""The well-known capability of a few figures for people; the answer is in ``ResultEnvelope.data``."""
QUERY_TIMEOUT_S: Final = 5.0
"""How long an instance has for an answer."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A question that a package answers, as its manifest declares it: ``capability`` is what callers ask for."""

    name: str
    capability: str
    description: str = ""


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A question. ``query`` is what the caller wrote, text or a JSON object; it is not trusted.

    ``endpoint`` names the manifest's endpoint that is asked. Return at most ``limit`` results, within ``timeout_s``.
    """

    capability: str
    endpoint: str
    query: str | Mapping[str, Any]
    limit: int = 20
    timeout_s: float = QUERY_TIMEOUT_S


class Fragment(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of text around what was found; ``highlights`` are pairs of offsets (characters, start and end)."""

    text: str
    highlights: tuple[tuple[int, int], ...] = ()


class Hit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One result. A higher ``score`` is better, comparable within one envelope. ``data`` is the plugin's own."""

    file_id: str | None = None
    score: float | None = None
    fragments: tuple[Fragment, ...] = ()
    data: Mapping[str, Any] = {}


class ResultEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """An instance's answer. A plugin fills in ``results`` (best first) or ``data``, and ``description`` when it has
    something to say to people; the host fills in who answered, how long it took, and what the answer may lack:
    ``waiting`` files that the instance was not given yet as they are now, and more while ``syncing``, when it is
    given all that it has not done. A plugin that lacks more than the host knows (an index that is filled again) adds
    to these: files to ``waiting``, or ``syncing`` where it does not know how many."""

    results: tuple[Hit, ...] = ()
    data: Mapping[str, Any] = {}
    description: str = ""
    node_id: str = ""
    plugin_name: str = ""
    package: str = ""
    capability: str = ""
    took_ms: float = 0.0
    waiting: int = 0
    syncing: bool = False
