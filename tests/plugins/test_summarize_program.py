"""Protects ``summarize`` as a program of two lines in the plugin directory, as its documentation shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pdfs import SENTENCES
from summarizing import Files
from tests.plugins.test_external import Bed, bed

from mosaicfs_core.hooks import PluginError

__all__ = ["bed"]
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "summarize.md"


@pytest.fixture
def files(tmp_path: Path, bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A folder, and the program that the documentation shows."""
    shown = re.search(r"```sh\n(#!/bin/sh\n.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert shown is not None
    assert shown.group(1) == "#!/bin/sh\nexec mosaicfs plugin run summarize\n"
    bed.plugins.mkdir(parents=True, exist_ok=True, mode=0o700)
    (bed.plugins / "summarize").write_text(shown.group(1))
    (bed.plugins / "summarize").chmod(0o700)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return Files(tmp_path)


async def test_two_lines_are_a_program(bed: Bed, files: Files) -> None:
    running = await bed.instance("summarize", "executable", config={"max_sentences": 1})
    files.write("orgel.txt", SENTENCES["de"].encode())
    answer = await running.file_event(files.event("orgel.txt", "text/plain", 400))
    assert answer is not None
    assert (answer["language"], answer["model"]) == ("de", "lexrank")
    assert answer["summary"].count(".") == 1
    assert await running.file_event(files.event("orgel.txt", "text/plain", 400)) == answer


def test_a_process_is_copied_only_while_it_has_a_single_thread_whoever_began_the_others() -> None:
    program = """
import _thread
from mosaicfs_plugins.summarize.reading import processes
assert processes._may_copy()
lock = _thread.allocate_lock()
lock.acquire()
_thread.start_new_thread(lock.acquire, ())
assert not processes._may_copy()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.logs("mosaicfs_file_event failed")
async def test_what_goes_wrong_is_told_to_the_host(bed: Bed, files: Files) -> None:
    running = await bed.instance("summarize", "executable", config={"endpoint": "http://127.0.0.1:9/v1"})
    files.write("orgel.txt", SENTENCES["de"].encode())
    with pytest.raises(PluginError, match=r"ended with exit code 1; it said: .*model: an endpoint needs"):
        await running.file_event(files.event("orgel.txt", "text/plain", 400))
    running = await bed.instance("other", "executable", package="summarize", config={})
    with pytest.raises(PluginError, match=r"it said: .*away\.txt is gone"):
        await running.file_event(files.event("away.txt", "text/plain", 400))
