"""Conditions written as notification documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.notifications import Condition, raised, resolved
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import Notice
from mosaicfs_core.store import Reader, Store

_KEY: Final = re.compile(r"[a-z0-9_.:-]{1,100}" + END)


async def raise_condition(store: Store, condition: Condition) -> None:
    """Say that a condition is true now."""
    now = times.now_micros()
    identifier = ids.notification_document_id(condition.source, condition.key)
    await store.update(identifier, lambda present: raised(present, condition, now))


async def resolve_condition(store: Store, source: str, key: str) -> None:
    """Say that a condition is over; nothing is written when it was."""
    identifier = ids.notification_document_id(source, key)
    if resolved(store.reader.get(identifier), 0) is None:
        return
    now = times.now_micros()
    await store.update(identifier, lambda present: resolved(present, now))


async def resolve_all(store: Store, source: str, which: Callable[[Mapping[str, Any]], bool]) -> None:
    """Say of every condition of a source that is still open, and that ``which`` is true of, that it is over."""
    for status in ("active", "acknowledged"):
        found = await store.read(partial(_of_status, status=status))
        for document in found:
            if document["source"]["node_id"] == source and which(document):
                await resolve_condition(store, source, str(document["condition_key"]))


def _of_status(reader: Reader, status: str) -> list[dict[str, Any]]:
    return reader.documents_of("notification", (status,))


def plugin_key(instance: str, key: str) -> str:
    """The condition key of something that an instance itself tells. Raises ``UserError``."""
    if not _KEY.match(key):
        raise UserError(f"key: expected 1 to 100 of the characters a-z 0-9 _ . : -, got {key!r}", field="key")
    return f"plugin:{instance}:{key}"


def of_plugin(node_id: str, instance: str, notice: Notice) -> Condition:
    """What an instance tells, as a condition of its node. Raises ``UserError`` for a key that is none."""
    key = plugin_key(instance, notice.key)
    return Condition(node_id, instance, key, notice.severity, notice.title, notice.message)
