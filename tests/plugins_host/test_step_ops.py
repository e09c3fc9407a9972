"""Protects whoever evaluates filter steps from plugins' ops: nonsense, slowness, hangs are told once, and skipped."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mosaicfs_core.errors import PluginError, UserError
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.plugins import aside, step_ops
from mosaicfs_core.rules import Chain, Chains, FileFacts, compile_chain

FACTS = [FileFacts("node-a", f"/x/{name}", name, size, 1, None) for size, name in enumerate("abcdef")]


class Bed:
    """One op of a plugin, and what the host was told of it."""

    def __init__(self, matches: Callable[[Any], Any], compiled: Callable[[Any], Any] | None = None) -> None:
        self.told: list[str] = []
        op = StepOp(name="odd", description="", compile=compiled or (lambda fields: matches))
        self.ops = {"odd": step_ops.attributed_op("strange", op, lambda error: self.told.append(error.message))}

    def chain(self, *before: dict[str, Any], **fields: Any) -> Chain:
        return compile_chain([*before, {"op": "odd", **fields}], "include", self.ops)


def raise_it(error: BaseException) -> None:
    raise error


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a hanging op waits for; looks are frequent."""
    monkeypatch.setattr(aside, "LOOK_S", 0.1)
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize(
    ("matches", "said"),
    [
        (lambda facts: "maybe", "plugin strange: step op odd answered str, not True or False"),
        (lambda facts: sys.exit(), "plugin strange: step op odd failed: SystemExit"),
        (lambda facts: raise_it(GeneratorExit()), "plugin strange: step op odd failed: GeneratorExit"),
        (lambda facts: raise_it(KeyboardInterrupt()), "plugin strange: step op odd failed: KeyboardInterrupt"),
        (lambda facts: None, "plugin strange: step op odd answered NoneType, not True or False"),
        (lambda facts: bool(time.sleep(0.02)), "plugin strange: step op odd took 0.1 s for "),
    ],
)
def test_one_that_answers_nonsense_or_too_slowly_is_told_once_and_skipped(
    matches: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_ops, "PATIENCE_S", 0.05)
    bed = Bed(matches)
    chain = bed.chain()
    begun = time.monotonic()
    verdicts = [chain.verdict(FACTS[0], None, 0) for _ in range(200)]
    assert time.monotonic() - begun < 2
    assert verdicts[-1] is True
    assert len(bed.told) == 1
    assert bed.told[0].startswith(said)


def test_one_that_waits_for_ever_is_left_behind_and_never_asked_again(released: threading.Event) -> None:
    asked: list[str] = []

    def matches(facts: FileFacts) -> bool:
        asked.append(facts.name)
        if facts.name == "c":
            released.wait()
        return facts.name == "a"

    bed = Bed(matches)
    verdicts = bed.chain().verdicts(FACTS, None, 0)
    # What it said of the files before the one on which it hangs stands; for the others the step is skipped.
    assert verdicts == [True, False, True, True, True, True]
    assert bed.told == ["plugin strange: step op odd did not return for 0.2 s and is not asked again until a restart"]
    assert asked == ["a", "b", "c"]
    assert bed.chain().verdict(FACTS[1], None, 0)
    assert asked == ["a", "b", "c"]
    with pytest.raises(PluginError, match="not asked again"):
        bed.ops["odd"].compile({})


def test_one_that_hangs_while_its_fields_are_compiled_is_a_warning(released: threading.Event) -> None:
    def compiled(fields: Any) -> Any:
        released.wait()

    bed = Bed(bool, compiled)
    (warning,) = bed.chain().warnings
    assert "step op odd did not return for 0.2 s" in warning.message
    assert len(bed.told) == 1


def test_a_loop_without_end_is_interrupted(released: threading.Event) -> None:
    threads: list[threading.Thread] = []

    def matches(facts: FileFacts) -> bool:
        threads.append(threading.current_thread())
        while True:
            try:
                facts.name.upper()
            except Exception:  # noqa: BLE001 - what a stranger's loop does
                facts.name.lower()

    bed = Bed(matches)
    assert bed.chain().verdict(FACTS[0], None, 0)
    threads[0].join(10)
    assert not threads[0].is_alive()
    assert threads[0].daemon, "one that waits for something instead must not hold up the end of the process"


def test_callers_beside_one_that_hangs_leave_no_further_threads(released: threading.Event) -> None:
    hanging: list[threading.Thread] = []

    def matches(facts: FileFacts) -> bool:
        hanging.append(threading.current_thread())
        return released.wait()

    chain = Bed(matches).chain()
    verdicts: list[bool] = []
    callers = [threading.Thread(target=lambda: verdicts.append(chain.verdict(FACTS[0], None, 0))) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert verdicts == [True] * 5
    assert len(hanging) == 1


def test_one_that_is_slow_with_many_files_is_not_taken_for_one_that_hangs(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    monkeypatch.setattr(aside, "LOOK_S", 0.5)
    bed = Bed(lambda facts: not time.sleep(0.2))
    assert bed.chain(on_no_match="exclude").verdicts(FACTS, None, 0) == [True] * len(FACTS)
    assert bed.told == []


def test_callers_take_turns(monkeypatch: pytest.MonkeyPatch, released: threading.Event) -> None:
    monkeypatch.setattr(aside, "LOOK_S", 2.5)
    monkeypatch.setattr(step_ops, "TURN_S", 0.0)
    monkeypatch.setattr(step_ops, "PATIENCE_S", 60.0)
    begun, other_asked = threading.Event(), threading.Event()
    asked: list[str] = []

    def matches(facts: FileFacts) -> bool:
        asked.append(facts.name)
        begun.set()
        if facts.name == "z":
            other_asked.set()
        return other_asked.wait(0.1) or True

    chain, many_files = Bed(matches).chain(), FACTS * 50
    many = threading.Thread(target=lambda: chain.verdicts(many_files, None, 0))
    many.start()
    assert begun.wait(10)
    assert chain.verdict(FileFacts("node-a", "/x/z", "z", 1, 1, None), None, 0)
    many.join()
    assert asked.index("z") < len(many_files), "it does not wait until all files of the other caller are done"
    assert len(asked) == len(many_files) + 1


def test_what_waits_behind_a_loop_is_not_run_when_that_is_interrupted(released: threading.Event) -> None:
    begun = threading.Event()
    asked: list[str] = []

    def matches(facts: FileFacts) -> bool:
        asked.append(facts.name)
        begun.set()
        while True:
            facts.name.upper()

    chain = Bed(matches).chain()
    callers = [threading.Thread(target=lambda: chain.verdict(FACTS[0], None, 0)) for _ in range(3)]
    for caller in callers:
        caller.start()
        assert begun.wait(10)
    for caller in callers:
        caller.join()
    assert asked == ["a"]


def test_its_thread_ends_with_the_op() -> None:
    threads: list[threading.Thread] = []

    def matches(facts: FileFacts) -> bool:
        threads.append(threading.current_thread())
        return True

    bed = Bed(matches)
    chain = bed.chain()
    for facts in FACTS:
        assert chain.verdict(facts, None, 0)
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    del bed, chain
    gc.collect()
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_many_files_are_given_to_it_at_once_and_only_those_that_come_to_it() -> None:
    asked: list[str] = []

    def matches(facts: FileFacts) -> bool:
        asked.append(facts.name)
        if facts.name == "e":
            raise RuntimeError("not this one")
        return facts.size % 2 == 0

    bed = Bed(matches)
    chains = Chains([compile_chain([]), bed.chain({"op": "size", "min_bytes": 2})])
    assert chains.verdicts(FACTS, None, 0) == [False, False, True, False, True, False]
    assert asked == ["c", "d", "e", "f"]
    assert bed.told == ["plugin strange: step op odd failed: RuntimeError: not this one"]
    assert [chains.verdict(facts, None, 0) for facts in FACTS] == [False, False, True, False, True, False]


def test_a_system_without_more_threads_costs_the_step_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bed = Bed(bool)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        (warning,) = bed.chain().warnings
    assert "can't start new thread" in warning.message
    assert not bed.chain().warnings, "it is asked again once there are"


def test_time_in_which_the_process_was_stopped_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 0.0, 600.0, 600.0, 600.0, 600.0, 600.0, 600.0, 600.0, 600.0])
    bed = Bed(lambda facts: facts.name == "a")
    chain = bed.chain()
    with monkeypatch.context() as patch:
        patch.setattr(step_ops, "time", SimpleNamespace(monotonic=lambda: next(seconds, 600.0)))
        chain.verdicts(FACTS, None, 0)
    assert chain.verdicts(FACTS, None, 0) == [True, *[False] * 5]
    assert bed.told == []


def test_wrong_fields_stay_the_users_error() -> None:
    def compiled(fields: Any) -> Any:
        raise UserError("expected a number", field="size")

    with pytest.raises(UserError, match="expected a number"):
        Bed(bool, compiled).ops["odd"].compile({})
