"""Query parameters of the protocol, which are partly JSON and partly plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mosaicfs_core.errors import UserError
from mosaicfs_core.server.couch.bodies import Filter, decoded
from mosaicfs_core.server.couch.feeds import KINDS, TIMEOUT_S, Asked
from mosaicfs_core.server.couch.listings import Listing
from mosaicfs_core.server.couch.pages import Changes
from mosaicfs_core.store.selector import compile_selector

DEFAULT_HEARTBEAT_S: Final = 60.0
SHORTEST_S: Final = 0.1
LONGEST_S: Final = 3600.0


def flag(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    """``true`` or ``false``."""
    value = query.get(name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise UserError(f"{name}: expected true or false, got {value!r}", field=name)
    return value == "true"


def number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number that is not negative, or None."""
    value = query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise UserError(f"{name}: expected a whole number, got {value!r}", field=name)
    return int(value)


def text(query: Mapping[str, str], *names: str) -> str | None:
    """A JSON text under the first of the names that is there; a text without quotes is taken as it is."""
    for name in names:
        value = query.get(name)
        if value is not None:
            return decoded(value.encode("utf-8", "replace"), str) if value[:1] == '"' else value
    return None


def changes(query: Mapping[str, str], body: Filter, now: int, last_event: str | None) -> Asked:
    """What a request of ``_changes`` asks for. ``now`` is the update sequence, ``last_event`` the header that a browser
    resumes an event stream with."""
    feed = query.get("feed", "normal")
    kind = next((known for known in KINDS if known == feed), None)
    if kind is None:
        raise UserError(f"feed: expected one of {', '.join(KINDS)}, got {feed!r}", field="feed")
    style = query.get("style", "main_only")
    if style not in ("main_only", "all_docs"):
        raise UserError("style: expected main_only or all_docs", field="style")
    if flag(query, "descending"):
        raise UserError("descending: not served; changes come oldest first", field="descending")
    limit = number(query, "limit")
    heartbeat = query.get("heartbeat")
    return Asked(
        kind=kind,
        since=_since(query.get("since") or last_event or "0", now),
        limit=None if limit is None else max(1, limit),
        heartbeat=None if heartbeat in (None, "false") else _heartbeat(query),
        timeout=TIMEOUT_S if (timeout := number(query, "timeout")) is None else min(timeout / 1000, LONGEST_S),
        what=_what(query, body, style == "all_docs"),
    )


def _since(value: str, now: int) -> int:
    plain = value.strip().strip('"')
    if plain == "now":
        return now
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 15):
        raise UserError(f"since: expected a sequence of this database or now, got {value!r}", field="since")
    return int(plain)


def _heartbeat(query: Mapping[str, str]) -> float:
    if query.get("heartbeat") == "true":
        return DEFAULT_HEARTBEAT_S
    milliseconds = number(query, "heartbeat")
    assert milliseconds is not None
    return min(max(milliseconds / 1000, SHORTEST_S), LONGEST_S)


def _what(query: Mapping[str, str], body: Filter, all_leaves: bool) -> Changes:
    name = query.get("filter")
    matches = ids = None
    if name == "_selector":
        if body.selector is None:
            raise UserError("selector: expected an object in the body of a POST", field="selector")
        matches = compile_selector(body.selector)
    elif name == "_doc_ids":
        given = body.doc_ids
        if given is None and "doc_ids" in query:
            given = decoded(query["doc_ids"].encode("utf-8", "replace"), list[str])
        if given is None:
            raise UserError("doc_ids: expected an array of ids", field="doc_ids")
        ids = tuple(dict.fromkeys(given))
    elif name == "_design":
        matches = _is_design
    elif name is not None:
        raise UserError(f"filter: expected _selector, _doc_ids or _design, got {name!r}", field="filter")
    return Changes(
        all_leaves=all_leaves,
        documents=flag(query, "include_docs"),
        conflicts=flag(query, "conflicts"),
        matches=matches,
        ids=ids,
    )


def listing(query: Mapping[str, str], keys: list[Any] | None) -> Listing:
    """What a request of ``_all_docs`` asks for."""
    if flag(query, "descending"):
        raise UserError("descending: not served; documents come in ascending order of ids", field="descending")
    if not flag(query, "inclusive_end", True):
        raise UserError("inclusive_end: not served; the end is listed too", field="inclusive_end")
    if keys is None and "keys" in query:
        keys = decoded(query["keys"].encode("utf-8", "replace"), list[Any])
    if (key := text(query, "key")) is not None:
        start: str | None = key
        end: str | None = key
    else:
        start, end = text(query, "startkey", "start_key"), text(query, "endkey", "end_key")
    return Listing(
        keys=None if keys is None else tuple(keys),
        start=start or "",
        end=end,
        limit=number(query, "limit"),
        skip=number(query, "skip") or 0,
        documents=flag(query, "include_docs"),
        conflicts=flag(query, "conflicts"),
    )


def _is_design(document: Mapping[str, Any]) -> bool:
    return str(document.get("_id", "")).startswith("_design/")
