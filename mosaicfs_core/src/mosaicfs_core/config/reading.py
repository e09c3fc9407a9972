"""Reading the configuration: the file and the environment against the list of keys, and where a value stands."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from mosaicfs_core.config.fields import FIELDS, HUB_PASSWORD, Field, Unshown
from mosaicfs_core.config.sections import Config
from mosaicfs_core.errors import ConfigError

_SECTIONS: Final = tuple(dict.fromkeys(field.section for field in FIELDS))


def load(file: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read ``file`` (absent: all defaults) and the environment. Raises ``ConfigError`` at the first wrong value."""
    environment = os.environ if environ is None else environ
    tables, text = _read(file)
    _refuse_unknown(tables, text, file)
    _refuse_unknown_variables(environment)
    values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for field in FIELDS:
        if field.variable in environment:
            where, text_given = f"environment variable {field.variable}", environment[field.variable]
            values[field.section][field.key] = _convert(field, text_given, where, field.read)
        elif field.key in tables.get(field.section, {}):
            where = _place(file, text, field.section, field.key)
            values[field.section][field.key] = _convert(field, tables[field.section][field.key], where)
    return msgspec.convert(values, Config)


def hidden_problems(file: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with values of the file that variables of the environment take the place of: nothing as long as
    these are set. Raises ``ConfigError`` for a file that cannot be read."""
    environment = os.environ if environ is None else environ
    tables, text = _read(file)
    found = []
    for field in FIELDS:
        if field.variable in environment and field.key in tables.get(field.section, {}):
            try:
                _convert(field, tables[field.section][field.key], _place(file, text, field.section, field.key))
            except ConfigError as error:
                found.append(f"{error.message} (the environment variable {field.variable} holds instead)")
    return found


def with_hub(config: Config, url: str | None) -> Config:
    """The configuration with the hub's address from the command line, where one was given. Raises ``ConfigError``."""
    if url is None:
        return config
    field = next(field for field in FIELDS if (field.section, field.key) == ("hub", "url"))
    hub = msgspec.structs.replace(config.hub, url=_convert(field, url, "--hub"))
    return msgspec.structs.replace(config, hub=hub)


def where_set(file: Path, section: str, key: str, environ: Mapping[str, str] | None = None) -> str:
    """Where a value comes from, for an error: the variable, or the file, the line and the key; the key alone when it is
    the default."""
    variable = f"MOSAICFS_{section}_{key}".upper()
    if variable in (os.environ if environ is None else environ):
        return f"environment variable {variable}"
    tables, text = _read(file)
    return _place(file, text, section, key) if key in tables.get(section, {}) else f"{section}.{key}"


def line_of(text: str, section: str, key: str | None) -> int:
    """The line (from 1) where TOML ``text`` sets ``section.key`` (``key`` None: opens the section); 1 when unseen.

    ``tomllib`` keeps no positions. This reads headers, ``key =``, ``section.key =`` and ``section = {`` line by line,
    which is how people write configurations.
    """
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
        if header:
            current = re.sub(r"[\"'\s]", "", header[1])
            if key is None and current.split(".")[0] == section:
                return number
            continue
        assigned = re.match(r"\s*([\w.\"'\- ]+?)\s*=", line)
        if assigned is None:
            continue
        name = re.sub(r"[\"'\s]", "", assigned[1])
        path = f"{current}.{name}" if current else name
        if path == f"{section}.{key}" or path == section or (key is None and path.startswith(f"{section}.")):
            return number
    return 1


def _read(file: Path) -> tuple[dict[str, Any], str]:
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return {}, ""
    except UnicodeDecodeError as error:
        _fail(f"{file}, byte {error.start}", "expected UTF-8 text")
    except OSError as error:
        _fail(str(file), f"cannot be read: {error.strerror}")
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(found[1]) if found else len(text.splitlines()) or 1
        _fail(f"{file}, line {line}", f"expected valid TOML: {error}")


def _refuse_unknown(tables: Mapping[str, Any], text: str, file: Path) -> None:
    for section, table in tables.items():
        if section not in _SECTIONS:
            where = f"{file}, line {line_of(text, section, None)}, {section}"
            _fail(where, "unknown section; expected one of " + ", ".join(f"[{name}]" for name in _SECTIONS))
        if not isinstance(table, dict):
            _fail(f"{file}, line {line_of(text, section, None)}, {section}", f"expected a section [{section}]")
        known = [field.key for field in FIELDS if field.section == section]
        for key in table:
            if key not in known:
                _fail(_place(file, text, section, key), "unknown key; expected one of " + ", ".join(known))


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {field.variable for field in FIELDS} | {HUB_PASSWORD}
    prefixes = tuple(f"MOSAICFS_{section}_".upper() for section in _SECTIONS)
    for variable in environment:
        if variable.startswith(prefixes) and variable not in known:
            section = variable.split("_")[1]
            near = sorted(name for name in known if name.startswith(f"MOSAICFS_{section}_"))
            _fail(f"environment variable {variable}", "unknown; expected one of " + ", ".join(near))


def _convert(field: Field, value: Any, where: str, read: Callable[[Any], Any] = lambda value: value) -> Any:
    try:
        return field.convert(read(value))
    except Unshown as error:
        _fail(where, str(error))
    except ValueError:
        _fail(where, f"expected {field.expected}, not {value!r}")


def _place(file: Path, text: str, section: str, key: str) -> str:
    return f"{file}, line {line_of(text, section, key)}, {section}.{key}"


def _fail(where: str, problem: str) -> NoReturn:
    raise ConfigError(f"{where}: {problem}", where=where)
