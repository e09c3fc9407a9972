"""Write ``docs/reference.md`` from the code: commands, configuration, steps, routes. ``--check`` only compares."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli
from mosaicfs_core.config import FIELDS, Config
from mosaicfs_core.rules.ops import CORE_OPS
from mosaicfs_core.server.app import running_app
from mosaicfs_core.testing.harness import Harness

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
VERBATIM = "\b"
HEAD = """# Reference

Written by `tools/reference.py` from the code; a test fails when it is out of date.

- [Commands](#commands) · [Configuration](#configuration) · [Steps](#steps) · [Routes](#routes)
"""


def commands(group: click.Group, context: click.Context, prefix: str) -> Iterator[str]:
    """A section per command with its usage, help and options."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        path = f"{prefix} {name}"
        if isinstance(command, click.Group):
            yield from commands(command, inner, path)
            continue
        pieces = " ".join(command.collect_usage_pieces(inner))
        yield f"\n### `{path}`\n\n`{path} {pieces}`\n\n{help_text(command)}\n"
        records = [record for option in command.params if (record := option.get_help_record(inner))]
        if records:
            yield "\n"
            yield from (
                f"- `{names}` {' '.join(text.split())}\n" for names, text in records if text and "--help" not in names
            )


def help_text(command: click.Command) -> str:
    """The command's help, one line a paragraph; what click keeps as it is (after a backspace mark) as a code block."""
    paragraphs = (command.help or "").split("\n\n")
    return "\n\n".join(
        f"```\n{textwrap.dedent(paragraph.strip().removeprefix(VERBATIM).strip(chr(10)))}\n```"
        if paragraph.strip(" ").startswith(VERBATIM)
        else " ".join(paragraph.split())
        for paragraph in paragraphs
    )


def configuration() -> Iterator[str]:
    """A row per key."""
    yield "| key | variable | default | expected | |\n|---|---|---|---|---|\n"
    defaults = Config()
    for field in FIELDS:
        default = getattr(getattr(defaults, field.section), field.key)
        yield (
            f"| `[{field.section}] {field.key}` | `{field.variable}` | `{default!r}` | {field.expected} "
            f"| {field.help} |\n"
        )


def steps() -> Iterator[str]:
    """A row per op of the core."""
    yield "Every step may carry `invert`, `on_match` and `on_no_match`.\n\n| op | fields | |\n|---|---|---|\n"
    for op in CORE_OPS.values():
        fields = ", ".join(f"`{name}`" for name in op.fields.get("properties", {}))
        yield f"| `{op.name}` | {fields} | {op.description} |\n"


async def description() -> dict[str, Any]:
    """The OpenAPI document of an instance with the standard plugins."""
    with tempfile.TemporaryDirectory() as place:
        async with Harness.start(Path(place)) as harness, running_app(harness.core) as app:
            answer = await app.test_client().get("/api/openapi.json")
            document: dict[str, Any] = await answer.get_json()
    return document


def routes(document: Mapping[str, Any]) -> Iterator[str]:
    """A row per operation."""
    yield "| | | |\n|---|---|---|\n"
    for path, operations in sorted(document["paths"].items()):
        for method, operation in sorted(operations.items()):
            yield f"| {method.upper()} | `{path}` | {operation.get('summary', '')} |\n"


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="mosaicfs", obj=TerminalContext())
    parts = [HEAD, "\n## Commands\n", *commands(cli, context, "mosaicfs")]
    parts += ["\n## Configuration\n\n", *configuration(), "\n## Steps\n\n", *steps()]
    parts += ["\n## Routes\n\n", *routes(asyncio.run(description()))]
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the page is out of date; write nothing")
    text = page()
    if parser.parse_args().check:
        return int(not PAGE.exists() or PAGE.read_text() != text)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
