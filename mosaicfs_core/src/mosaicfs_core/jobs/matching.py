"""Which files an instance is told of: its subscription, compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Final

from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.jobs.instances import Instance, events_of
from mosaicfs_core.jobs.records import Subscription
from mosaicfs_core.rules import Chains, FactsLookup, FileFacts, compile_chain, name_matcher
from mosaicfs_core.store import FileRow, FileWrite
from mosaicfs_core.store.rows import FileParts, join_path

_KNOWN_TYPES: Final = 4_096


class Matcher:
    """The events and files of one subscription. ``needs_facts``: it asks more than type and node. ``problems``: what of
    it cannot be understood, and is passed over."""

    def __init__(self, subscription: Subscription, node_id: str, step_ops: Mapping[str, StepOp]) -> None:
        self.subscription = subscription
        self.events = events_of(subscription)
        self._node_id = node_id if subscription.scope == "node" else None
        self.problems: list[str] = []
        self._any_type = not subscription.mime_globs
        self._globs = [matches for glob in subscription.mime_globs if (matches := self._glob(glob)) is not None]
        self._types: dict[str, bool] = {}
        chains = [compile_chain(steps, ops=step_ops) for steps in (subscription.steps, subscription.budget_steps)]
        self._chains = Chains(chains)
        self.problems += [warning.message for warning in self._chains.warnings]
        self.needs_facts = not self._chains.passes_all

    def _glob(self, glob: str) -> Callable[[str], bool] | None:
        try:
            return name_matcher(glob)
        except UserError as error:
            self.problems.append(f"mime_globs: {error.message}")
            return None

    def cheaply(self, node_id: str, mime_type: str | None) -> bool:
        """Whether node and type let a file through."""
        if self._node_id is not None and node_id != self._node_id:
            return False
        if self._any_type:
            return True
        if mime_type is None:
            return False
        answer = self._types.get(mime_type)
        if answer is None:
            answer = any(matches(mime_type) for matches in self._globs)
            if len(self._types) < _KNOWN_TYPES:
                self._types[mime_type] = answer
        return answer

    def among_new(self, writes: Sequence[FileWrite], lookup: FactsLookup, now: int) -> list[int]:
        """The numbers of the files, just written, that are the instance's: ``takes`` of each, made short for a first
        crawl, when there are very many and all are."""
        if not self._any_type or self.needs_facts:
            parts = [(write.doc, after) for write in writes if (after := write.after) is not None and after.shown]
            return self.among([(doc, facts_of(after)) for doc, after in parts], lookup, now)
        shown = [(write.doc, after.node_id) for write in writes if (after := write.after) is not None and after.shown]
        return [doc for doc, node_id in shown if self._node_id is None or node_id == self._node_id]

    def among(self, files: Iterable[tuple[int, FileFacts]], lookup: FactsLookup, now: int) -> list[int]:
        """The numbers of the files, given with their facts, that are the instance's."""
        cheap = [(doc, facts) for doc, facts in files if self.cheaply(facts.node_id, facts.mime_type)]
        docs = [doc for doc, _ in cheap]
        if not self.needs_facts:
            return docs
        return list(compress(docs, self._chains.verdicts([facts for _, facts in cheap], lookup, now)))

    def takes(self, parts: FileParts | None, lookup: FactsLookup, now: int) -> bool:
        """Whether a file as the store tells it is one of the instance's; False for what is not shown."""
        if parts is None or not parts.shown or not self.cheaply(parts.node_id, parts.mime_type):
            return False
        return not self.needs_facts or self._chains.verdict(facts_of(parts), lookup, now)


class Matchers:
    """Compiled subscriptions, each compiled once for as long as it stays the same. Serves one thread."""

    def __init__(self, node_id: str, step_ops: Mapping[str, StepOp]) -> None:
        self._node_id, self._step_ops = node_id, step_ops
        self._made: dict[int, tuple[bytes, Matcher]] = {}

    def of(self, instance: Instance) -> Matcher:
        """The matcher of an instance."""
        made = self._made.get(instance.number)
        if made is None or made[0] != instance.subscription:
            matcher = Matcher(instance.parsed(), self._node_id, self._step_ops)
            made = self._made[instance.number] = (instance.subscription, matcher)
        return made[1]


def facts_of(parts: FileParts) -> FileFacts:
    """A file's facts as filter steps want them."""
    return FileFacts(
        node_id=parts.node_id,
        export_path=join_path(parts.parent, parts.name),
        name=parts.name,
        size=parts.size,
        mtime=parts.mtime,
        mime_type=parts.mime_type,
    )


def facts_of_row(file: FileRow) -> FileFacts:
    """The same of a file as listings have it."""
    return FileFacts(
        node_id=file.node_id,
        export_path=file.export_path,
        name=file.name,
        size=file.size,
        mtime=file.mtime,
        mime_type=file.mime_type,
    )
