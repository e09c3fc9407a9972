"""Protects what ``files search`` refuses: what lists files cannot be given beside a text, and each says so."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.commands import files
from mosaicfs_core.cli.frame_context import TerminalContext


@pytest.mark.parametrize(("option", "words"), [("--deleted", ["--deleted"]), ("--under", ["--under", "/d"])])
def test_a_list_takes_no_text(option: str, words: list[str]) -> None:
    group = click.Group()
    files.register(group, TerminalContext())
    refused = CliRunner().invoke(group, ["files", "search", "d", *words])
    assert refused.exit_code == 2
    assert f"{option} cannot be given together with TEXT ('d')" in refused.stderr
    shown = " ".join(CliRunner().invoke(group, ["files", "search", "--help"]).output.split())
    assert shown.count("(without TEXT)") == 2
