"""What a command gets: the way to the API and to the terminal (``mosaicfs_core.hooks.CommandContext``)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mosaicfs_core.cli.client import HttpApi
    from mosaicfs_core.errors import PluginError
    from mosaicfs_core.home import Home
    from mosaicfs_core.hooks import StepOp


class TerminalContext:
    """One invocation of ``mosaicfs``. The options are set while the line is parsed, before any command is loaded."""

    def __init__(self) -> None:
        self.json = False
        self.quiet = False
        self.verbose = False
        self.safe_mode = False
        self.home_path: Path | None = None

    @cached_property
    def home(self) -> Home:
        """The home this invocation is about: ``--home``, ``MOSAICFS_HOME`` or the platform's default."""
        from mosaicfs_core.home import Home, default_home

        return Home(self.home_path or default_home())

    @property
    def home_dir(self) -> Path:
        """Where that home is; it may not exist yet."""
        return self.home.path

    @cached_property
    def api(self) -> HttpApi:
        """The REST API of the instance; connects on first use."""
        from mosaicfs_core.cli.client import HttpApi, find_endpoint

        return HttpApi(find_endpoint(self.home))

    def show(self, value: Any, columns: Sequence[str] | Mapping[str, str] | None = None, empty: str = "") -> None:
        """Print a value: a table of ``columns`` (key to heading) for people, the value itself with ``--json``."""
        from mosaicfs_core.cli import output

        if self.json:
            click.echo(output.as_json(value))
            return
        text = output.render(value, columns, empty, terminal=sys.stdout.isatty())
        if text:
            click.echo(text)
        note = output.page_note(value)
        if note and not self.quiet:
            click.echo(note, err=True)

    def say(self, text: str) -> None:
        """Print a line for people (nothing with ``--json`` or ``--quiet``)."""
        if not (self.json or self.quiet):
            from mosaicfs_core.printing import printable

            click.echo(printable(text))

    def progress(self, label: str, total: int | None = None) -> Any:
        """A context manager whose value has ``advance(n)``: a bar on a terminal, silent otherwise."""
        from mosaicfs_core.cli import output

        if self.json or self.quiet or not sys.stderr.isatty():
            return output.SilentProgress()
        from mosaicfs_core.cli.output_progress import BarProgress
        from mosaicfs_core.printing import printable

        return BarProgress(printable(label), total)

    def watchable(self, folders: Sequence[str]) -> list[str]:
        """Folders of this machine to be indexed, as native absolute paths. Raises ``UserError`` for those that cannot
        be."""
        from mosaicfs_core.content.watchable import check_watch_paths
        from mosaicfs_core.documents import paths

        return [os.fsdecode(paths.unescape(path)) for path in check_watch_paths(folders, self.home, None)]

    def step_ops(
        self, *, first_party: bool = False, failed: Callable[[PluginError], None] | None = None
    ) -> Mapping[str, StepOp]:
        """The step ops of the installed plugins that are not disabled."""
        from mosaicfs_core import config
        from mosaicfs_core.plugins.host import PluginHost

        disabled = config.load(self.home.config_file).agent.disabled_plugins
        host = PluginHost.discover(disabled, first_party)
        if failed is not None:
            host.tell_failures(failed)
        return host.step_ops()
