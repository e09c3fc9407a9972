"""Protects what people see: tables, sizes, times, and names that cannot drive the terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mosaicfs_core.cli import frame, output
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import NotFound

ROWS = [
    {"name": "a.txt", "size": 1_500_000, "source": {"node_id": "node-a"}, "labels": ["x", "y"], "on": True},
    {"name": "b\x1b[31m\n.txt", "size": 3, "source": {"node_id": "node-b"}, "labels": [], "on": None},
]
COLUMNS = {"name": "NAME", "size": "SIZE", "source.node_id": "NODE", "labels": "LABELS", "on": "ON"}


def test_a_table_for_a_pipe_is_aligned_and_harmless() -> None:
    assert output.render(ROWS, COLUMNS, "", terminal=False).splitlines() == [
        "NAME             SIZE    NODE    LABELS  ON",
        "a.txt            1.5 MB  node-a  x, y    yes",
        "b\\x1b[31m\\n.txt  3 B     node-b",
    ]


def test_numbers_that_name_something_can_be_copied() -> None:
    assert output.cell("inode", 3_087_568_643_301_433) == output.cell("file.inode", 3_087_568_643_301_433)
    assert output.cell("inode", 3_087_568_643_301_433) == "3087568643301433"
    assert output.cell("pid", 28_630) == "28630"
    assert output.cell("files", 28_630) == "28,630"


def test_a_table_for_a_terminal_keeps_brackets_and_escapes_controls() -> None:
    text = output.render([{"name": "[bold]x\x1b"}], None, "", terminal=True)
    assert "[bold]x\\x1b" in text


def test_pages_objects_texts_and_nothing() -> None:
    page = {"items": [{"name": "a"}], "total": 1000, "more": True, "offset": 0, "limit": 1}
    assert output.render(page, None, "", terminal=False) == "name\na"
    assert output.page_note(page) == "1 of more than 1,000 shown"
    assert output.page_note({"items": [1], "total": 5}) == "1 of 5 shown"
    assert output.page_note({"items": [1], "total": 1}) == ""
    assert output.render({"items": [], "total": 0}, None, "no files", terminal=False) == "no files"
    assert output.render({"name": "a", "size": 10}, None, "", terminal=False) == "name  a\nsize  10 B"
    assert output.render(["a", "b"], None, "", terminal=False) == "a\nb"
    assert output.render("text", None, "", terminal=False) == "text"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("size", 999, "999 B"),
        ("used_bytes", 1_000, "1.0 KB"),
        ("size", 40_000_000_000, "40.0 GB"),
        ("count", 1234567, "1,234,567"),
        ("count", 42, "42"),
        ("on", False, "no"),
        ("data", {"a": 1}, '{"a": 1}'),
        ("updated_at", "not a time", "not a time"),
        ("name", "\U0010ffff\U0010fffe.bin", "\\xff\\xfe.bin"),
        ("name", "caf\u00e9", "caf\u00e9"),
    ],
)
def test_cells(key: str, value: Any, text: str) -> None:
    assert output.cell(key, value) == text


def test_times_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(output.cell("updated_at", "2026-01-02T03:04:05.000000Z")) == len("2026-01-02 03:04:05")


def test_json_is_the_value_itself(capsys: pytest.CaptureFixture[str]) -> None:
    context = TerminalContext()
    context.json = True
    context.show(ROWS)
    context.say("not shown")
    assert json.loads(capsys.readouterr().out) == ROWS


def test_a_line_is_one_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalContext().say("made /a\nmade /b\x1b[31m\x9b")
    assert capsys.readouterr().out == "made /a\\nmade /b\\x1b[31m\\x9b\n"


def test_json_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    context = TerminalContext()
    context.json = True
    name = "".join(map(chr, [*range(32), *range(127, 160)])) + "é"
    context.show({"name": name})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": name}
    assert printed.replace("\n", "").isprintable()


def test_an_error_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    frame._report(NotFound("there is no /a\x1b[31m"), as_json=False, verbose=False)
    assert capsys.readouterr().err == "mosaicfs: there is no /a\\x1b[31m\n"


def test_progress_is_silent_where_nobody_looks() -> None:
    with TerminalContext().progress("Working", 3) as bar:
        bar.advance(2)


def test_a_bar_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaicfs_core.cli.output_progress import BarProgress

    with BarProgress("Working", 3) as bar:
        bar.advance(2)
        bar.update(3, 3)
        assert bar._progress.finished
