"""A plugin by somebody else: recipes as files, a filter step, a command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mosaicfs_core.hooks import (
    CommandContext,
    Complete,
    Create,
    FileOperation,
    PluginContext,
    PluginManifest,
    StepOp,
    UserError,
    hookimpl,
)

if TYPE_CHECKING:
    import click

__version__ = "1.2.0"


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    return PluginManifest(
        title="Recipes",
        description="Shows recipes as text files.",
        version=__version__,
        hook_api=1,
        provides_filesystem=True,
        poll_interval_s=3600,
        settings_schema={
            "type": "object",
            "properties": {
                "recipes": {
                    "title": "Recipes",
                    "description": "The text of each recipe, by its title.",
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "default": {},
                }
            },
        },
    )


@hookimpl
async def mosaicfs_crawl(context: PluginContext) -> AsyncIterator[FileOperation]:
    """Write each recipe of the settings into a file, then name every file there is."""
    prefix = context.prefix
    folder = context.files_dir / prefix.lstrip("/")
    await asyncio.to_thread(_write_recipes, folder, context.config["recipes"])
    for name, facts in await asyncio.to_thread(_scan, folder):
        path = f"{prefix}/{context.written(name)}"
        mtime = facts.st_mtime_ns // 1000
        yield Create(export_path=path, size=facts.st_size, mtime=mtime, device=facts.st_dev, number=facts.st_ino)
    yield Complete(prefix=prefix)


@hookimpl
def mosaicfs_step_ops() -> Sequence[StepOp]:
    fields = {
        "type": "object",
        "properties": {"at_least": {"title": "At least", "type": "integer", "minimum": 0, "default": 1}},
    }
    op = StepOp(name="vowels", description="The name has at least so many vowels.", compile=_vowels, fields=fields)
    return [op]


@hookimpl
def mosaicfs_commands(cli: click.Group, context: CommandContext) -> None:
    import click

    @cli.group("recipes", short_help="Recipes as files.")
    def recipes() -> None:
        """Recipes as files."""

    @recipes.command("count")
    @click.argument("words", nargs=-1)
    def count(words: tuple[str, ...]) -> None:
        """Count the vowels of WORDS."""
        context.show({"words": list(words), "vowels": sum(_count(word) for word in words)})


def _vowels(fields: Mapping[str, Any]) -> Callable[[Any], bool]:
    least = fields.get("at_least", 1)
    if not isinstance(least, int) or least < 0:
        raise UserError("at_least: expected an integer of 0 or more", field="at_least")
    return lambda facts: _count(facts.name) >= least


def _count(text: str) -> int:
    return sum(text.lower().count(vowel) for vowel in "aeiou")


def _write_recipes(folder: Path, recipes: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for title, text in recipes.items():
        file = folder / f"{title.replace('/', '-')}.txt"
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")


def _scan(folder: Path) -> list[tuple[bytes, os.stat_result]]:
    with os.scandir(os.fsencode(folder)) as entries:
        return sorted((entry.name, entry.stat()) for entry in entries if entry.is_file(follow_symlinks=False))
