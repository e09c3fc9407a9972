"""Chains of filter steps: compiled once, then asked for each file.

Each step continues, includes or excludes; see the defaults of ``outcomes``. After the last step ``default_result``
decides. An op that nobody knows, or whose plugin fails, is skipped, kept in the document, and named in ``warnings``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from mosaicfs_core.documents.base import Step
from mosaicfs_core.documents.codec import to_document
from mosaicfs_core.errors import MosaicError, UserError
from mosaicfs_core.rules.facts import FactsLookup, FileFacts, NoLookup
from mosaicfs_core.rules.ops import CORE_OPS, Compiled, Predicate, expected
from mosaicfs_core.rules.sql import Sql, SqlFilter, negated

STEP_FIELDS: Final = frozenset({"op", "invert", "on_match", "on_no_match"})
"""The fields of every step, whatever its op."""
_RESULTS: Final = {"continue": None, "include": True, "exclude": False}
_NAMES: Final = {None: "continue", True: "include", False: "exclude"}
_NO_LOOKUP: Final = NoLookup()


class PluginOp(Protocol):
    """What a chain needs of a plugin's ``StepOp`` as the host hands it out, which records what the op raises."""

    @property
    def compile(self) -> Callable[[Mapping[str, Any]], Callable[[Any], bool]]:
        """The step's own fields to a predicate over ``FileFacts``, which may have a method ``many`` that takes a list
        of them and returns, raising nothing, what holds for each, None where the plugin failed.

        Raises ``UserError`` for wrong fields and another ``MosaicError`` when the plugin fails."""


class StepWarning(msgspec.Struct, frozen=True):
    """Why a step is skipped: ``index`` in the chain, its ``op`` and a sentence."""

    index: int
    op: str
    message: str


class StepVerdict(msgspec.Struct, frozen=True):
    """What one step said of one file.

    ``matched`` already has ``invert`` applied and is None for a skipped step; ``result`` is ``continue``, ``include``
    or ``exclude``. After the last step one with ``index`` None and the op ``default_result`` decides.
    """

    index: int | None
    op: str
    matched: bool | None
    result: str
    note: str = ""


class _Slot(msgspec.Struct, frozen=True):
    """A compiled step: results are True (include), False (exclude) and None (continue)."""

    index: int
    op: str
    compiled: Compiled
    if_true: bool | None
    if_false: bool | None
    invert: bool


def outcomes(step: Mapping[str, Any]) -> tuple[str, str]:
    """(on_match, on_no_match) with defaults applied.

    ``on_match`` defaults to ``continue``. ``on_no_match`` defaults to ``exclude`` beside ``continue``, so that a plain
    step is a filter, and to ``continue`` beside ``include`` and ``exclude``, so that a short cut leaves other files
    alone.
    """
    on_match = step.get("on_match") or "continue"
    on_no_match = step.get("on_no_match") or ("exclude" if on_match == "continue" else "continue")
    for field, value in (("on_match", on_match), ("on_no_match", on_no_match)):
        if value not in _RESULTS:
            raise UserError(f"expected continue, include or exclude, got {value!r}", field=field)
    return on_match, on_no_match


def _plain(step: Mapping[str, Any] | Step) -> Mapping[str, Any]:
    return to_document(step) if isinstance(step, Step) else step


def _guarded(predicate: Callable[[Any], bool]) -> Predicate:
    """A plugin's predicate that cannot take the caller down: it answers None, so that the step is skipped, for a file
    on which it raises."""

    def guarded(facts: FileFacts, lookup: FactsLookup, now: int) -> bool | None:
        try:
            return bool(predicate(facts))
        except Exception:  # noqa: BLE001 - the code is a stranger's; the host has recorded it
            return None

    return guarded


def _compile_op(op: str, fields: Mapping[str, Any], ops: Mapping[str, PluginOp]) -> Compiled | None:
    if core := CORE_OPS.get(op):
        return core.compile(fields)
    if plugin_op := ops.get(op):
        predicate = plugin_op.compile(fields)
        return Compiled(predicate=_guarded(predicate), many=getattr(predicate, "many", None))
    return None


def _compile_step(index: int, step: Mapping[str, Any], ops: Mapping[str, PluginOp]) -> _Slot | StepWarning:
    op = step.get("op")
    if not isinstance(op, str) or not op:
        raise UserError(expected("the name of an op", op), field="op")
    invert = step.get("invert") or False
    if not isinstance(invert, bool):
        raise UserError(f"expected true or false, got {invert!r}", field="invert")
    on_match, on_no_match = (_RESULTS[name] for name in outcomes(step))
    fields = {key: value for key, value in step.items() if key not in STEP_FIELDS}
    compiled = _compile_op(op, fields, ops)
    if compiled is None:
        return StepWarning(index, op, f"the op {op!r} is unknown here (its plugin is missing?); the step is skipped")
    if_true, if_false = (on_no_match, on_match) if invert else (on_match, on_no_match)
    return _Slot(index, op, compiled, if_true, if_false, invert)


class Chain:
    """A compiled chain.

    ``needs`` names what it reads beyond the facts: ``labels``, ``annotations``, ``time``. ``age_offsets`` are the ages
    (microseconds) at which time alone may change a verdict: for a file, at the moments ``mtime + offset``.
    """

    __slots__ = ("_asks_many", "_default", "_run", "_slots", "age_offsets", "key", "needs", "warnings")

    def __init__(self, slots: Sequence[_Slot], default: bool, warnings: Sequence[StepWarning], key: str) -> None:
        self._slots = tuple(slots)
        self._default = default
        self._asks_many = any(slot.compiled.many is not None for slot in slots)
        self._run = tuple((slot.compiled.predicate, slot.if_true, slot.if_false) for slot in slots)
        self.needs: frozenset[str] = frozenset().union(*(slot.compiled.needs for slot in slots))
        self.age_offsets = tuple(sorted({offset for slot in slots for offset in slot.compiled.age_offsets}))
        self.warnings = tuple(warnings)
        self.key = key

    @property
    def passes_all(self) -> bool:
        """Whether every file passes, whatever its facts (a chain without effective steps)."""
        return self._default and not self._slots

    def verdict(self, facts: FileFacts, lookup: FactsLookup = _NO_LOOKUP, now: int = 0) -> bool:
        """Whether the file passes. ``now`` (microseconds) matters only to a chain that needs ``time``."""
        for predicate, if_true, if_false in self._run:
            matched = predicate(facts, lookup, now)
            result = if_true if matched else if_false
            if result is not None and matched is not None:
                return result
        return self._default

    def verdicts(self, files: Sequence[FileFacts], lookup: FactsLookup, now: int) -> list[bool]:
        """``verdict`` of each file. An op that is cheaper to ask for many is asked once for all that come to it."""
        if not self._asks_many:
            return [self.verdict(facts, lookup, now) for facts in files]
        verdicts = [self._default] * len(files)
        undecided = list(range(len(files)))
        for slot in self._slots:
            answers = slot.compiled.ask([files[index] for index in undecided], lookup, now)
            going_on: list[int] = []
            for index, matched in zip(undecided, answers, strict=True):
                result = slot.if_true if matched else slot.if_false
                if result is None or matched is None:
                    going_on.append(index)
                else:
                    verdicts[index] = result
            undecided = going_on
        return verdicts

    def explain(self, facts: FileFacts, lookup: FactsLookup = _NO_LOOKUP, now: int = 0) -> list[StepVerdict]:
        """The steps that were asked, in order, up to the one that decided; skipped ones with the reason."""
        verdicts: list[StepVerdict] = []
        skipped = {warning.index: warning for warning in self.warnings}
        slots = {slot.index: slot for slot in self._slots}
        for index in sorted(slots.keys() | skipped.keys()):
            if index in skipped:
                verdicts.append(StepVerdict(index, skipped[index].op, None, "continue", skipped[index].message))
                continue
            slot = slots[index]
            held = slot.compiled.predicate(facts, lookup, now)
            if held is None:
                verdicts.append(StepVerdict(index, slot.op, None, "continue", "the op failed; the step is skipped"))
                continue
            result = slot.if_true if held else slot.if_false
            verdicts.append(StepVerdict(index, slot.op, held != slot.invert, _NAMES[result]))
            if result is not None:
                return verdicts
        verdicts.append(StepVerdict(None, "default_result", None, _NAMES[self._default]))
        return verdicts

    def sql(self, now: int = 0) -> SqlFilter | None:
        """A condition over the columns of ``mosaicfs_core.rules.sql`` that every passing file meets, or None."""
        parts: list[Sql] = []
        exact = True
        for slot in self._slots:
            if True in (slot.if_true, slot.if_false):
                # From here on a file may be included whatever the later steps say.
                exact = False
                break
            part = _necessary(slot, now)
            if part is None:
                exact = exact and slot.if_true is None and slot.if_false is None
            else:
                parts.append(part)
        else:
            if not self._default:
                return SqlFilter("0", (), exact=True)
        if not parts:
            return SqlFilter("1", (), exact=True) if exact else None
        where = " AND ".join(f"({part[0]})" for part in parts)
        return SqlFilter(where, tuple(value for part in parts for value in part[1]), exact)


def _necessary(slot: _Slot, now: int) -> Sql | None:
    """What a file must meet not to be excluded by this step, where SQL can say it."""
    if slot.compiled.condition is None or (slot.if_true is None) == (slot.if_false is None):
        return None
    condition = slot.compiled.condition(now)
    if condition is None:
        return None
    return condition if slot.if_false is False else negated(condition)


class Chains:
    """Chains evaluated outermost first, each to its own verdict: one ``exclude`` anywhere is final."""

    __slots__ = ("_effective", "_verdicts", "age_offsets", "chains", "key", "needs", "warnings")

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains = tuple(chains)
        self._effective = tuple(chain for chain in chains if not chain.passes_all)
        self._verdicts = tuple(chain.verdict for chain in self._effective)
        self.needs: frozenset[str] = frozenset().union(*(chain.needs for chain in chains))
        self.age_offsets = tuple(sorted({offset for chain in chains for offset in chain.age_offsets}))
        self.warnings = tuple(warning for chain in chains for warning in chain.warnings)
        self.key = "\n".join(chain.key for chain in chains)

    @property
    def passes_all(self) -> bool:
        """Whether every file passes, whatever its facts."""
        return not self._verdicts

    def verdict(self, facts: FileFacts, lookup: FactsLookup = _NO_LOOKUP, now: int = 0) -> bool:
        """Whether the file passes every chain."""
        return all(verdict(facts, lookup, now) for verdict in self._verdicts)

    def verdicts(self, files: Sequence[FileFacts], lookup: FactsLookup, now: int) -> list[bool]:
        """``verdict`` of each file: see ``Chain.verdicts``."""
        passing = [True] * len(files)
        for chain in self._effective:
            left = [index for index, passes in enumerate(passing) if passes]
            for index, passes in zip(left, chain.verdicts([files[at] for at in left], lookup, now), strict=True):
                passing[index] = passes
        return passing

    def explain(self, facts: FileFacts, lookup: FactsLookup = _NO_LOOKUP, now: int = 0) -> list[list[StepVerdict]]:
        """For each chain what its steps said, whether or not an outer one has excluded the file already."""
        return [chain.explain(facts, lookup, now) for chain in self.chains]

    def sql(self, now: int = 0) -> SqlFilter | None:
        """The conditions of all chains together, or None when none of them has any."""
        filters = [chain.sql(now) for chain in self.chains]
        found = [part for part in filters if part is not None]
        if not found:
            return None if self.chains else SqlFilter("1", (), exact=True)
        return SqlFilter(
            " AND ".join(f"({part.where})" for part in found),
            tuple(value for part in found for value in part.parameters),
            exact=len(found) == len(filters) and all(part.exact for part in found),
        )


def chain_key(steps: Sequence[Mapping[str, Any] | Step] | None, default_result: str | None = "include") -> str:
    """Canonical text of a chain: equal for chains that always agree because they are written alike."""
    canonical = [
        {
            **plain,
            "invert": bool(plain.get("invert")),
            **dict(zip(("on_match", "on_no_match"), _lenient(plain), strict=True)),
        }
        for plain in map(_plain, steps or ())
    ]
    return msgspec.json.encode([canonical, default_result or "include"], order="deterministic").decode("utf-8")


def _lenient(step: Mapping[str, Any]) -> tuple[Any, Any]:
    try:
        return outcomes(step)
    except UserError:
        return step.get("on_match"), step.get("on_no_match")


def compile_chain(
    steps: Sequence[Mapping[str, Any] | Step] | None,
    default_result: str | None = "include",
    ops: Mapping[str, PluginOp] | None = None,
    *,
    strict: bool = False,
) -> Chain:
    """Compile a chain; ``ops`` are those of plugins, by name.

    A step with wrong fields is skipped with a warning, as one with an unknown op or of a plugin that fails is, so that
    a damaged document or a stranger's code does not hide a directory. With ``strict``, for what a user is about to
    store, wrong fields raise ``UserError`` with the field (``steps[2].pattern``); what is not the user's fault is still
    only warned of.
    """
    slots: list[_Slot] = []
    warnings: list[StepWarning] = []
    if default_result not in (None, "include", "exclude"):
        raise UserError(f"default_result: expected include or exclude, got {default_result!r}", field="default_result")
    for index, step in enumerate(steps or ()):
        plain = _plain(step)
        try:
            compiled = _compile_step(index, plain, ops or {})
        except MosaicError as error:
            field = f"steps[{index}].{error.details.get('field', 'op')}"
            if strict and isinstance(error, UserError):
                raise UserError(f"{field}: {error.message}", field=field) from None
            compiled = StepWarning(index, str(plain.get("op")), f"{field}: {error.message}; the step is skipped")
        if isinstance(compiled, StepWarning):
            warnings.append(compiled)
        else:
            slots.append(compiled)
    return Chain(slots, default_result != "exclude", warnings, chain_key(steps, default_result))


def labels_named(steps: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The labels that ``label`` steps ask for."""
    return frozenset(
        label
        for step in steps
        if step.get("op") == "label" and isinstance(step.get("labels"), list | tuple)
        for label in step["labels"]
        if isinstance(label, str)
    )


def plugins_named(steps: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The plugin instances whose annotations ``annotation`` steps read."""
    return frozenset(str(step.get("plugin_name")) for step in steps if step.get("op") == "annotation")


def check_steps(
    steps: Sequence[Mapping[str, Any] | Step] | None,
    default_result: str | None = "include",
    ops: Mapping[str, PluginOp] | None = None,
) -> tuple[StepWarning, ...]:
    """Check steps that are about to be stored: raises ``UserError`` for wrong ones, returns warnings of unknown and
    failing ops."""
    return compile_chain(steps, default_result, ops, strict=True).warnings
