"""The package that ``mosaicfs plugin new`` writes."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final, NamedTuple

from mosaicfs_core.errors import Conflict, UserError
from mosaicfs_core.plugins.discovery import PLUGIN_NAME, installed_plugins

_PYPROJECT: Final = """\
[project]
name = "$distribution"
version = "0.1.0"
description = "A plugin for MosaicFS: $name"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["mosaicfs-core"]

[project.optional-dependencies]
test = ["pytest", "pytest-asyncio>=0.24"]

[project.entry-points.mosaicfs]
$name = "$module"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["src/$module"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
"""

_MODULE: Final = '''\
"""The plugin $name: shows the files of one folder, and counts the lines of text files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from mosaicfs_core.hooks import Directory, Entry, FileEvent, FileOperation, PluginManifest, hookimpl

__version__ = "0.1.0"


@hookimpl
def mosaicfs_manifest() -> PluginManifest:
    """Say what this package is. Called before anything else; keep it quick."""
    return PluginManifest(
        title="$title",
        description="Shows the files put into the folder of this plugin, and counts the lines of text files.",
        version=__version__,
        hook_api=1,
        provides_filesystem=True,
        poll_interval_s=60,
        subscribed_events=("file.added", "file.modified"),
        mime_globs=("text/*",),
    )


@hookimpl
async def mosaicfs_crawl(context) -> AsyncIterator[FileOperation]:
    """Name every file there is. What lies at files_dir/prefix/x is indexed as /prefix/x."""
    folder = context.files_dir / context.prefix.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    files = await asyncio.to_thread(_scan, os.fsencode(folder), context.written)
    yield Directory(export_path=context.prefix, files=files, directories=[])


@hookimpl
async def mosaicfs_file_event(context, event: FileEvent) -> dict[str, int] | None:
    """What is returned becomes the file's annotation; an event may come twice."""
    if event.local_path is None:
        return None
    return {"lines": await asyncio.to_thread(_count_lines, event.local_path)}


def _count_lines(path: str) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def _scan(folder: bytes, written) -> list[Entry]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                facts = entry.stat(follow_symlinks=False)
                mtime = facts.st_mtime_ns // 1000
                found.append(Entry(written(entry.name), facts.st_size, mtime, facts.st_dev, facts.st_ino))
    return found
'''

_TEST: Final = '''\
"""$name keeps the contracts of plugins, of crawls and of file events, in each way to run it."""

import os

import pytest

from mosaicfs_core.testing import CrawlContract, FileEventContract, PluginContract, WorkSource, native, written


class TestPlugin(PluginContract):
    mosaicfs_plugin = "$name"


class Source:
    plugin = "$name"
    odd_names = True

    def __init__(self, folder):
        self.settings = {}
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name, content):
        (self.folder / os.fsdecode(name)).write_bytes(content)
        return f"/$name/{written(name)}"

    def remove(self, export_path):
        (self.folder / os.fsdecode(native(export_path.rpartition("/")[2]))).unlink()

    def break_part(self):
        return None


class TestCrawl(CrawlContract):
    @pytest.fixture
    def mosaicfs_source(self, tmp_path):
        return Source(tmp_path / "home" / "bridge-data" / "files" / "$name")


class TestEvents(FileEventContract):
    @pytest.fixture
    def mosaicfs_work(self):
        return WorkSource("$name", {"poem.txt": b"roses\\nare red\\n", "empty.txt": b""})
'''

_CONFTEST: Final = """\
pytest_plugins = ["mosaicfs_core.testing"]
"""

_README: Final = """\
# $distribution

A plugin for MosaicFS. Install it beside MosaicFS and switch it on:

    pip install -e '.[test]'
    mosaicfs plugin list
    mosaicfs plugin enable $name

Check it:

    mosaicfs plugin check $name
    pytest
"""


class Written(NamedTuple):
    """The package's directory and the files in it, relative."""

    directory: Path
    files: tuple[str, ...]


def write_package(name: str, parent: Path) -> Written:
    """Write the package of a plugin ``name`` into ``parent``. Raises ``UserError`` for a name that cannot be one and
    ``Conflict`` when the directory exists, or an installed plugin has the name."""
    if PLUGIN_NAME.fullmatch(name) is None or not name.replace("-", "_").isidentifier():
        raise UserError(
            f"the name {name!r} cannot be a plugin's; expected a letter, then a-z, 0-9, _ and -, at most 64"
        )
    distribution, module = f"mosaicfs-x-{name.replace('_', '-')}", f"mosaicfs_x_{name.replace('-', '_')}"
    directory = parent / distribution
    if owner := next((one for one in installed_plugins() if one.name == name), None):
        raise Conflict(f"a plugin {name} is installed already, by {owner.distribution}: choose another name")
    if directory.exists():
        raise Conflict(f"{directory} exists already")
    values = {
        "name": name,
        "title": name.replace("-", " ").replace("_", " ").capitalize(),
        "distribution": distribution,
        "module": module,
    }
    contents = {
        "pyproject.toml": _PYPROJECT,
        f"src/{module}/__init__.py": _MODULE,
        "tests/conftest.py": _CONFTEST,
        f"tests/test_{module}.py": _TEST,
        "README.md": _README,
    }
    for relative, text in contents.items():
        file = directory / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(values), encoding="utf-8")
    return Written(directory, tuple(contents))
