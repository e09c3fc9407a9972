"""The commands of plugins, known without importing the plugins.

Which commands they add is asked once per environment and list of disabled plugins, which are not imported here either
(nor are strangers' in safe mode), and kept in the user's cache directory; the list is made anew when a package is
installed or removed, when a plugin's module changes, and when a command is asked for that it does not hold.
A plugin that cannot add its commands is left out, and named when the list is made.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import ConfigError

if TYPE_CHECKING:
    from mosaicfs_core.plugins.host import PluginHost

_FORMAT: Final = 2
_COMPLETING: Final = "_MOSAICFS_COMPLETE"
_HOOK: Final = "mosaicfs_commands"


def names(context: TerminalContext) -> list[str]:
    """The names of the plugins' commands; none when the configuration is wrong, which may disable any."""
    try:
        return list(_listing(_left_out(context)))
    except ConfigError:
        return []


def helps(context: TerminalContext) -> dict[str, str]:
    """The plugins' commands with their one-line help; a wrong configuration is told and leaves them out."""
    try:
        return {name: entry["help"] for name, entry in _listing(_left_out(context)).items()}
    except ConfigError as error:
        _warn(error.message)
        return {}


def load(name: str, context: TerminalContext, *, again: bool = True) -> click.Command | None:
    """The command of that name, importing its plugin alone; None when no plugin has one.

    ``again`` asks all plugins once more when the list does not hold it. Raises ``ConfigError``.
    """
    left_out = _left_out(context)
    entry = _listing(left_out).get(name) or (_listing(left_out, refresh=True).get(name) if again else None)
    if entry is None:
        return None
    from importlib_metadata import EntryPoint

    from mosaicfs_core.hooks import ENTRY_POINT_GROUP
    from mosaicfs_core.plugins.host import PluginHost

    _quiet_log()
    # By its entry point at once: reading the metadata of every installed package would cost more than the import.
    point = EntryPoint(name=entry["plugin"], value=entry["value"], group=ENTRY_POINT_GROUP)
    host = PluginHost.discover(entry_points=[point])
    command = _commands_of(host, context).get(name)
    if command is None:
        _listing(left_out, refresh=True)
        plugin = host.plugins.get(entry["plugin"])
        raise click.ClickException(
            f"the plugin {entry['plugin']} no longer offers {name}: {plugin.error if plugin else 'it is not installed'}"
        )
    return command[1]


class LeftOut(NamedTuple):
    """The plugins that are not imported: those of these names, and (``safe_mode``) all that are not ours."""

    disabled: tuple[str, ...] = ()
    safe_mode: bool = False


def _left_out(context: TerminalContext) -> LeftOut:
    from mosaicfs_core import config

    return LeftOut(tuple(sorted(set(config.load(context.home.config_file).agent.disabled_plugins))), context.safe_mode)


@cache
def _memory() -> dict[LeftOut, dict[str, dict[str, str]]]:
    return {}


def _listing(left_out: LeftOut, refresh: bool = False) -> dict[str, dict[str, str]]:
    """Command name to ``{"plugin", "value", "help"}``, from memory, the cache file, or the plugins themselves."""
    memory = _memory()
    if left_out not in memory or refresh:
        kept = None if refresh else _read_cache(left_out)
        memory[left_out] = _ask_plugins(left_out) if kept is None else kept
    return memory[left_out]


def _ask_plugins(left_out: LeftOut) -> dict[str, dict[str, str]]:
    from mosaicfs_core.plugins.host import PluginHost

    _quiet_log()
    host = PluginHost.discover(*left_out)
    for plugin in host.plugins.values():
        if plugin.status == "failed":
            _warn(f"plugin {plugin.name} cannot be used: {plugin.error}")
    found = _commands_of(host, TerminalContext())
    listing = {
        name: {"plugin": plugin, "value": host.plugins[plugin].entry_point, "help": command.get_short_help_str(80)}
        for name, (plugin, command) in found.items()
    }
    _write_cache(left_out, listing, _files_of(host))
    return listing


def _commands_of(host: PluginHost, context: TerminalContext) -> dict[str, tuple[str, click.Command]]:
    """Command name to its plugin and command; the first plugin to add a name keeps it."""
    found: dict[str, tuple[str, click.Command]] = {}
    for plugin in host.providers(_HOOK):
        scratch = click.Group()
        try:
            host.register(plugin, _HOOK, cli=scratch, context=context)
        except Exception as error:  # noqa: BLE001 - a plugin must not break the command line
            _warn(str(error))
            continue
        for name, command in scratch.commands.items():
            found.setdefault(name, (plugin.name, command))
    return found


def _warn(text: str) -> None:
    if _COMPLETING not in os.environ:
        click.echo(f"mosaicfs: {text}", err=True)


def _quiet_log() -> None:
    # Without a handler the logging module would print the host's errors, which are told in our own way here.
    logging.getLogger("mosaicfs").addHandler(logging.NullHandler())


def _files_of(host: PluginHost) -> list[str]:
    """The source files that decide which commands there are: of the modules that our plugins live in."""
    packages = {plugin.entry_point.partition(":")[0].partition(".")[0] for plugin in host.plugins.values()}
    files = [
        getattr(module, "__file__", None) for name, module in sys.modules.items() if name.partition(".")[0] in packages
    ]
    return sorted(file for file in files if file)


def _stamp(files: list[str]) -> str:
    """Changes when a package comes or goes (its directory changes) or one of ``files`` is edited."""
    digest = hashlib.sha1(f"{_FORMAT}|{sys.version}|{sys.prefix}".encode(), usedforsecurity=False)
    # The first entry is where the script lies (or nothing), which says nothing of what is installed.
    for place in [*sys.path[1:], *files]:
        try:
            digest.update(f"|{place}|{os.stat(place).st_mtime_ns}".encode("utf-8", "surrogateescape"))
        except OSError:
            digest.update(f"|{place}|-".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _cache_file(left_out: LeftOut) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    # Homes that disable different plugins have a list each: they would make each other's anew in turns.
    named = [sys.prefix, *left_out.disabled, *(["", "safe"] if left_out.safe_mode else [])]
    what = "\0".join(named).encode("utf-8", "surrogateescape")
    environment = hashlib.sha1(what, usedforsecurity=False).hexdigest()[:12]
    return Path(base).expanduser() / "mosaicfs" / f"commands-{environment}.json"


def _read_cache(left_out: LeftOut) -> dict[str, dict[str, str]] | None:
    try:
        kept: Mapping[str, Any] = json.loads(_cache_file(left_out).read_text("utf-8"))
        files, listing = kept["files"], kept["commands"]
        return listing if kept["stamp"] == _stamp(files) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(left_out: LeftOut, listing: dict[str, dict[str, str]], files: list[str]) -> None:
    file = _cache_file(left_out)
    body = json.dumps({"stamp": _stamp(files), "files": files, "commands": listing})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(body)
        os.replace(temporary, file)
    except OSError:
        # Without a writable cache directory each call asks the plugins: slower, not wrong.
        return
