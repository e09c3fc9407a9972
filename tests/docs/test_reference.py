"""The reference says what the code says, and the guides name only commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_reference_is_up_to_date() -> None:
    ran = subprocess.run([sys.executable, ROOT / "tools" / "reference.py", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, f"run: python tools/reference.py\n{ran.stderr}"


def words(line: str) -> list[str]:
    """The command words of a shell line, up to the first argument."""
    return re.findall(r"\S+", line.split("#")[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_named_exists(page: Path) -> None:
    context = click.Context(cli, info_name="mosaicfs", obj=TerminalContext())
    for match in re.finditer(r"(?:^ {0,4}|`)mosaicfs ([a-z][^`\n]*)", page.read_text(), flags=re.MULTILINE):
        group: click.Command = cli
        for word in words(match.group(1)):
            if not isinstance(group, click.Group):
                break
            found = group.get_command(context, word)
            assert found is not None, f"{page.name}: there is no command `mosaicfs {match.group(1)}`"
            group = found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_list_of_contents_names_every_section(page: Path) -> None:
    text = page.read_text()
    listed = re.findall(r"^- \[[^\]]+\]\(#([^)]+)\)$", text, flags=re.MULTILINE)
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    if listed:
        assert listed == [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_the_architecture_names_every_decision() -> None:
    """In order, by the title that the decision has."""
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    listed = re.findall(
        r"^- \[(.+)\]\(decisions/(.+)\)$", (ROOT / "docs/architecture.md").read_text(), flags=re.MULTILINE
    )
    assert listed == [(page.read_text().splitlines()[0].removeprefix("# "), page.name) for page in decisions]
