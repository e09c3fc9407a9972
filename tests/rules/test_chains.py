"""Protects filter chains: their semantics (checked against an interpreter of a few lines), every op, explanations, the
moments when time changes a verdict, and the conditions handed to SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core.documents import MICROS_PER_DAY, Step
from mosaicfs_core.errors import UserError
from mosaicfs_core.rules import Chains, FileFacts, chain_key, check_steps, compile_chain

NOW = 1_700_000_000_000_000
DAY = MICROS_PER_DAY
FACTS = FileFacts("n1", "/home/user/URGENT/report.pdf", "report.pdf", 1000, NOW - 10 * DAY, "application/pdf")


class Lookup:
    """Labels and annotations that a test sets."""

    def __init__(self, labels: set[str] | None = None, data: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._labels = frozenset(labels or ())
        self._data = data or {}

    def labels(self, facts: FileFacts) -> frozenset[str]:
        return self._labels

    def annotation(self, facts: FileFacts, plugin_name: str) -> Mapping[str, Any] | None:
        return self._data.get(plugin_name)


# --- semantics -------------------------------------------------------------------------------------------------------

OPS: list[tuple[dict[str, Any], Callable[[FileFacts], bool]]] = [
    ({"op": "size", "min_bytes": 100}, lambda f: f.size >= 100),
    ({"op": "size", "max_bytes": 1000}, lambda f: f.size <= 1000),
    ({"op": "age", "max_days": 30}, lambda f: NOW - f.mtime <= 30 * DAY),
    ({"op": "age", "min_days": 5}, lambda f: NOW - f.mtime >= 5 * DAY),
    ({"op": "node", "node_ids": ["n1", "n3"]}, lambda f: f.node_id in ("n1", "n3")),
    (
        {"op": "mime", "globs": ["image/*", "text/plain"]},
        lambda f: (f.mime_type or "").startswith(("image/", "text/plain")),
    ),
    ({"op": "glob", "pattern": "**/*.pdf"}, lambda f: f.export_path.endswith(".pdf")),
    ({"op": "regex", "pattern": "URG"}, lambda f: "URG" in f.export_path),
    ({"op": "sparkle"}, lambda f: True),
]
FILES = st.builds(
    lambda node, path, size, days, mime: FileFacts(node, path, path.rpartition("/")[2], size, NOW - days * DAY, mime),
    st.sampled_from(["n1", "n2", "n3"]),
    st.sampled_from(["/a/x.pdf", "/URGENT/x.pdf", "/b/y.jpg", "/URGENT/z"]),
    st.sampled_from([0, 99, 100, 1000, 1001]),
    st.sampled_from([-1, 0, 5, 6, 30, 31]),
    st.sampled_from([None, "image/png", "text/plain", "application/pdf"]),
)
STEPS = st.lists(
    st.builds(
        lambda op, invert, extra: {**OPS[op][0], **({"invert": invert} if invert is not None else {}), **extra},
        st.integers(0, len(OPS) - 1),
        st.sampled_from([None, True, False]),
        st.fixed_dictionaries(
            {},
            optional={
                "on_match": st.sampled_from(["continue", "include", "exclude"]),
                "on_no_match": st.sampled_from(["continue", "include", "exclude"]),
            },
        ),
    ),
    max_size=5,
)
DEFAULTS = st.sampled_from(["include", "exclude"])


def interpret(steps: list[dict[str, Any]], default: str, facts: FileFacts) -> bool:
    """The text of the specification, word for word."""
    tests = {msgspec.json.encode(fields): test for fields, test in OPS}
    for step in steps:
        own = {key: value for key, value in step.items() if key not in ("invert", "on_match", "on_no_match")}
        if step["op"] == "sparkle":
            continue
        match = tests[msgspec.json.encode(own)](facts) != step.get("invert", False)
        on_match = step.get("on_match", "continue")
        on_no_match = step.get("on_no_match", "exclude" if on_match == "continue" else "continue")
        result = on_match if match else on_no_match
        if result != "continue":
            return result == "include"
    return default == "include"


@settings(max_examples=500, deadline=None)
@given(STEPS, DEFAULTS, st.lists(FILES, min_size=1, max_size=6))
def test_chains_do_what_the_specification_says(
    steps: list[dict[str, Any]], default: str, files: list[FileFacts]
) -> None:
    chain = compile_chain(steps, default)
    assert len(chain.warnings) == sum(step["op"] == "sparkle" for step in steps)
    for facts in files:
        expected = interpret(steps, default, facts)
        assert chain.verdict(facts, now=NOW) is expected
        explained = chain.explain(facts, now=NOW)
        assert explained[-1].result == ("include" if expected else "exclude")
        assert all(verdict.result == "continue" for verdict in explained[:-1])


class AsksMany:
    """A plugin's op as the host hands it out, which can be asked for many files; it fails for empty ones."""

    def __init__(self) -> None:
        self.asked = 0

    def compile(self, fields: Mapping[str, Any]) -> Any:
        op = self

        class Predicate:
            def __call__(self, facts: FileFacts) -> bool:
                return 1 // facts.size > 0 or facts.size % 2 == 0  # raises for an empty file

            def many(self, files: Sequence[FileFacts]) -> list[bool | None]:
                op.asked += len(files)
                return [None if facts.size == 0 else self(facts) for facts in files]

        return Predicate()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(STEPS, DEFAULTS), max_size=3), st.integers(0, 6), st.lists(FILES, max_size=8))
def test_many_files_are_judged_as_each_of_them(
    chains: list[tuple[list[dict[str, Any]], str]], place: int, files: list[FileFacts]
) -> None:
    op = AsksMany()
    together = Chains(
        [
            compile_chain([*steps[:place], {"op": "many"}, *steps[place:]], default, {"many": op})
            for steps, default in chains
        ]
    )
    assert together.verdicts(files, Lookup(set(), {}), NOW) == [together.verdict(facts, now=NOW) for facts in files]
    assert op.asked <= len(files) * len(chains)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(STEPS, DEFAULTS), max_size=4), FILES)
def test_one_exclude_anywhere_is_final(chains: list[tuple[list[dict[str, Any]], str]], facts: FileFacts) -> None:
    together = Chains([compile_chain(steps, default) for steps, default in chains])
    assert together.verdict(facts, now=NOW) is all(interpret(steps, default, facts) for steps, default in chains)
    assert len(together.explain(facts, now=NOW)) == len(chains)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(STEPS, DEFAULTS), max_size=2), st.lists(FILES, min_size=1, max_size=8))
def test_sql_never_loses_a_file_and_says_when_it_is_the_verdict(
    chains: list[tuple[list[dict[str, Any]], str]], files: list[FileFacts]
) -> None:
    together = Chains([compile_chain(steps, default) for steps, default in chains])
    condition = together.sql(NOW)
    if condition is None:
        return
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE files (number, node_id, size, mtime, mime_type)")
    rows = [(number, f.node_id, f.size, f.mtime, f.mime_type) for number, f in enumerate(files)]
    database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", rows)
    found = database.execute(f"SELECT number FROM files WHERE {condition.where}", condition.parameters).fetchall()
    database.close()
    passing = {(number,) for number, facts in enumerate(files) if together.verdict(facts, now=NOW)}
    assert passing <= set(found)
    if condition.exact:
        assert passing == set(found)


def test_the_example_of_the_specification() -> None:
    chain = compile_chain(
        [
            {"op": "glob", "pattern": "**/*.{pdf,docx,md}"},
            {"op": "glob", "pattern": "**/archive/**", "invert": True},
            {"op": "regex", "pattern": "URGENT", "on_match": "include"},
            {"op": "age", "max_days": 90},
        ]
    )
    old = NOW - 400 * DAY

    def passes(path: str, mtime: int) -> bool:
        return chain.verdict(FileFacts("n", path, path.rpartition("/")[2], 1, mtime), now=NOW)

    assert passes("/docs/new.pdf", NOW)
    assert not passes("/docs/old.pdf", old)
    assert passes("/docs/URGENT-old.pdf", old)
    assert not passes("/docs/archive/URGENT.pdf", old)
    assert not passes("/docs/new.jpg", NOW)
    assert chain.needs == {"time"}


# --- ops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "matches"),
    [
        ({"op": "glob", "pattern": "/home/**"}, True),
        ({"op": "glob", "pattern": "*.jpg"}, False),
        ({"op": "regex", "pattern": "urgent"}, False),
        ({"op": "regex", "pattern": "urgent", "flags": "i"}, True),
        ({"op": "regex", "pattern": r"^/home/\w+/.*\.pdf$"}, True),
        ({"op": "regex", "pattern": "(UR){1,3}GENT"}, True),
        ({"op": "age", "max_days": 10}, True),
        ({"op": "age", "max_days": 9.99}, False),
        ({"op": "age", "min_days": 10, "max_days": 10}, True),
        ({"op": "age", "min_days": 1e300}, False),
        ({"op": "size", "min_bytes": 1000, "max_bytes": 1000}, True),
        ({"op": "size", "max_bytes": 999.5}, False),
        ({"op": "size", "max_bytes": 1e30}, True),
        ({"op": "mime", "globs": ["image/*", "APPLICATION/*"]}, True),
        ({"op": "mime", "globs": ["pdf"]}, False),
        ({"op": "node", "node_ids": ["n2"]}, False),
        ({"op": "label", "labels": ["work"]}, True),
        ({"op": "label", "labels": ["work", "tax"]}, True),
        ({"op": "label", "labels": ["work", "home"]}, False),
        ({"op": "annotation", "plugin_name": "ocr"}, True),
        ({"op": "annotation", "plugin_name": "summary"}, False),
        ({"op": "annotation", "plugin_name": "ocr", "key": "page.count"}, True),
        ({"op": "annotation", "plugin_name": "ocr", "key": "page.count", "value": 3}, True),
        ({"op": "annotation", "plugin_name": "ocr", "key": "page.count", "value": "3"}, True),
        ({"op": "annotation", "plugin_name": "ocr", "key": "page.count", "value": True}, False),
        ({"op": "annotation", "plugin_name": "ocr", "key": "page.count.x"}, False),
        ({"op": "annotation", "plugin_name": "ocr", "key": "dotted.key", "value": "yes"}, True),
        ({"op": "annotation", "plugin_name": "ocr", "key": "tags", "value": "b"}, True),
        ({"op": "annotation", "plugin_name": "ocr", "key": "tags", "regex": "^c"}, False),
        ({"op": "annotation", "plugin_name": "ocr", "key": "done", "value": "true"}, True),
        ({"op": "annotation", "plugin_name": "ocr", "key": "done", "value": 1}, False),
        ({"op": "annotation", "plugin_name": "ocr", "key": "title", "regex": "^Annual"}, True),
    ],
)
def test_every_op(step: dict[str, Any], matches: bool) -> None:
    data = {"page": {"count": 3}, "dotted.key": "yes", "tags": ["a", "b"], "done": True, "title": "Annual report"}
    lookup = Lookup({"work", "tax"}, {"ocr": data})
    chain = compile_chain([step], strict=True)
    assert chain.verdict(FACTS, lookup, NOW) is matches
    assert compile_chain([{**step, "invert": True}]).verdict(FACTS, lookup, NOW) is not matches


def test_a_file_without_a_mime_type_never_matches() -> None:
    facts = FileFacts("n", "/x", "x", 0, NOW)
    assert not compile_chain([{"op": "mime", "globs": ["*"]}]).verdict(facts)
    assert compile_chain([{"op": "mime", "globs": ["*"], "invert": True}]).verdict(facts)


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({}, "op"),
        ({"op": 3}, "op"),
        ({"op": "glob"}, "pattern"),
        ({"op": "glob", "pattern": "{a,b}" * 12}, "pattern"),
        ({"op": "regex", "pattern": "("}, "pattern"),
        ({"op": "regex", "pattern": r"(a)\1"}, "pattern"),
        ({"op": "regex", "pattern": "a", "flags": "x"}, "flags"),
        ({"op": "regex", "pattern": "a", "flags": 1}, "flags"),
        ({"op": "age"}, "max_days"),
        ({"op": "age", "max_days": "3"}, "max_days"),
        ({"op": "age", "max_days": True}, "max_days"),
        ({"op": "age", "max_days": 3, "min_days": 4}, "max_days"),
        ({"op": "size", "min_bytes": -1}, "min_bytes"),
        ({"op": "size", "min_bytes": float("inf")}, "min_bytes"),
        ({"op": "mime", "globs": "image/*"}, "globs"),
        ({"op": "mime", "globs": []}, "globs"),
        ({"op": "node", "node_ids": [1]}, "node_ids"),
        ({"op": "label", "labels": [""]}, "labels"),
        ({"op": "annotation"}, "plugin_name"),
        ({"op": "annotation", "plugin_name": "p", "value": 1}, "key"),
        ({"op": "annotation", "plugin_name": "p", "key": "k", "value": 1, "regex": "x"}, "regex"),
        ({"op": "annotation", "plugin_name": "p", "key": "k", "regex": "("}, "regex"),
        ({"op": "size", "min_bytes": 1, "invert": "yes"}, "invert"),
        ({"op": "size", "min_bytes": 1, "on_match": "maybe"}, "on_match"),
        ({"op": "size", "min_bytes": 1, "on_no_match": "skip"}, "on_no_match"),
    ],
)
def test_a_wrong_step_is_refused_when_stored_and_skipped_when_met(step: dict[str, Any], field: str) -> None:
    steps = [{"op": "size", "min_bytes": 0}, step]
    with pytest.raises(UserError) as raised:
        check_steps(steps)
    assert raised.value.details["field"] == f"steps[1].{field}"
    chain = compile_chain(steps)
    assert chain.verdict(FACTS)
    assert [warning.index for warning in chain.warnings] == [1]
    assert chain.explain(FACTS)[1].matched is None


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"op": "glob"}, "steps[0].pattern: is missing: expected text"),
        ({"op": "glob", "pattern": 3}, "steps[0].pattern: expected text, got 3"),
        ({"op": "mime"}, "steps[0].globs: is missing: expected a list of at least one text"),
        ({"pattern": "*"}, "steps[0].op: is missing: expected the name of an op"),
    ],
)
def test_a_field_that_is_missing_is_called_so(step: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        compile_chain([step], strict=True)
    assert caught.value.message == told


def test_a_wrong_default_is_refused() -> None:
    with pytest.raises(UserError):
        compile_chain([], "continue")


class SizeIs:
    """A plugin's op, as its ``StepOp`` looks to a chain."""

    def compile(self, fields: Mapping[str, Any]) -> Callable[[Any], bool]:
        if "size" not in fields:
            raise UserError("expected a number", field="size")
        size = fields["size"]
        return lambda facts: 1 / (facts.size - 13) is not None and facts.size == size


def test_ops_of_plugins_take_part_and_cannot_take_the_caller_down() -> None:
    chain = compile_chain([{"op": "size_is", "size": 5}], ops={"size_is": SizeIs()}, strict=True)
    assert chain.verdict(FileFacts("n", "/x", "x", 5, 0))
    assert not chain.verdict(FileFacts("n", "/x", "x", 6, 0))
    assert chain.verdict(FileFacts("n", "/x", "x", 13, 0))
    assert chain.explain(FileFacts("n", "/x", "x", 13, 0))[0].matched is None
    with pytest.raises(UserError, match="size"):
        check_steps([{"op": "size_is"}], ops={"size_is": SizeIs()})


def test_an_unknown_op_is_a_warning_even_when_stored() -> None:
    (warning,) = check_steps([{"op": "sparkle", "glitter": 1}])
    assert (warning.index, warning.op) == (0, "sparkle")
    assert compile_chain([{"op": "sparkle"}]).passes_all
    assert Chains([compile_chain([])]).passes_all


def test_steps_of_a_parsed_document_are_taken_too() -> None:
    step = Step(op="size", extra={"min_bytes": 5000})
    assert not compile_chain([step]).verdict(FACTS)
    assert chain_key([step]) == chain_key([{"op": "size", "min_bytes": 5000, "on_no_match": "exclude"}])


def test_keys_tell_chains_apart() -> None:
    step = {"op": "size", "min_bytes": 1}
    keys = {
        chain_key([]),
        chain_key([], "exclude"),
        chain_key([step]),
        chain_key([{**step, "invert": True}]),
        chain_key([{**step, "on_match": "include"}]),
        chain_key([step, step]),
    }
    assert len(keys) == 6
    assert chain_key(None, None) == chain_key([], "include")
    assert chain_key([{"min_bytes": 1, "op": "size", "invert": False}]) == chain_key([step])


# --- time ------------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(-5, 60), st.booleans())
def test_a_verdict_changes_at_the_offsets_and_nowhere_else(one: int, other: int, age: int, invert: bool) -> None:
    steps = [{"op": "age", "min_days": min(one, other), "max_days": max(one, other), "invert": invert}]
    chains = Chains([compile_chain(steps)])
    facts = FileFacts("n", "/x", "x", 0, NOW - age * DAY)
    moments = sorted(facts.mtime + offset for offset in chains.age_offsets)
    assert len(moments) == 2
    for moment in moments:
        assert chains.verdict(facts, now=moment - 1) is not chains.verdict(facts, now=moment)
    borders = [moments[0] - 100 * DAY, *moments, moments[1] + 100 * DAY]
    for start, end in pairwise(borders):
        assert len({chains.verdict(facts, now=moment) for moment in (start, (start + end) // 2, end - 1)}) == 1


def test_chains_without_time_have_no_offsets() -> None:
    chain = compile_chain([{"op": "size", "min_bytes": 1}])
    assert chain.age_offsets == ()
    assert "time" not in chain.needs
