"""Protects the start of our own programs as children: ready, refused in their own words, silent, or gone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mosaicfs_core import children
from mosaicfs_core.errors import Conflict, MosaicError, Unavailable, UserError


def program(text: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, json, time\n{text}"]


def refusal(code: str, message: str) -> str:
    return f"print({json.dumps(json.dumps({'error': {'code': code, 'message': message}}))}, file=sys.stderr)"


ENDS: list[tuple[str, type[MosaicError], str]] = [
    (f"{refusal('invalid', 'no such folder')}; sys.exit(2)", UserError, "^no such folder$"),
    (f"{refusal('conflict', 'in use')}; print('a last word', file=sys.stderr); sys.exit(1)", Conflict, "^in use$"),
    (refusal("failed", "a surprise"), Unavailable, "^a surprise$"),
    ("sys.exit('mosaicfs: in plain words')", Unavailable, "^in plain words$"),
    ("sys.exit(7)", Unavailable, "^it ended with 7, without a word$"),
]
READY = "print(json.dumps({'ready': True}), flush=True); sys.stdin.read()"


async def begin(how: str, text: str, log: Path, **given: Any) -> tuple[Any, dict[str, Any]]:
    if how == "awaited":
        return await children.start_here("it", program(text), given.get("timeout", 30))
    return children.start("it", program(text), log=log if how == "logged" else None, **given)


@pytest.mark.parametrize("how", ["blocking", "logged", "awaited"])
@pytest.mark.parametrize(("text", "kind", "words"), ENDS)
async def test_a_child_that_ends_says_why(
    how: str, text: str, kind: type[MosaicError], words: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text(json.dumps({"error": {"code": "invalid", "message": "that of another day"}}) + "\n")
    with pytest.raises(kind, match=words):
        await begin(how, text, log)


def test_a_full_disk_that_keeps_the_reason_from_being_told_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(Unavailable, match=r"^it ended with 7; the disk of .*log.* is full$"):
        children.start("it", program("sys.exit(7)"), log=tmp_path / "log")


@pytest.mark.parametrize("how", ["blocking", "awaited"])
async def test_a_silent_child_is_ended(how: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"^it did not answer"):
        await begin(how, "time.sleep(600)", tmp_path, timeout=0.5)


async def test_a_child_that_says_something_else_is_ended_with_what_it_started(tmp_path: Path) -> None:
    held = tmp_path / "held by both"
    os.mkfifo(held)
    end = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    text = "import os; os.open(sys.argv[1], os.O_WRONLY); os.fork(); print('hello', flush=True); time.sleep(600)"
    with pytest.raises(Unavailable, match="it said something else than that it is ready"):
        await children.start_here("it", [*program(text), str(held)], 30)
    os.set_blocking(end, True)
    assert await asyncio.to_thread(os.read, end, 1) == b""
    os.close(end)


async def test_a_child_that_is_ready_ends_with_its_tie(tmp_path: Path) -> None:
    child, facts = children.start("it", program(READY), tied=True)
    assert facts == {"ready": True}
    child.stdin.close()
    assert child.wait(30) == 0
    awaited, facts = await children.start_here("it", program(READY), 30)
    assert facts == {"ready": True}
    awaited.stdin.close()
    assert await awaited.wait() == 0


def test_its_log_is_private(tmp_path: Path) -> None:
    child, _ = children.start("it", program(READY), log=tmp_path / "log")
    assert child.wait(30) == 0
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_program_that_cannot_be_started_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        children.start("it", [str(tmp_path / "absent")])


def test_the_command_runs_this_mosaicfs_on_a_home(tmp_path: Path) -> None:
    assert children.command(tmp_path, "up", "--no-mount")[2:] == [
        children.PROGRAM,
        "--json",
        "--home",
        str(tmp_path),
        "up",
        "--no-mount",
    ]
