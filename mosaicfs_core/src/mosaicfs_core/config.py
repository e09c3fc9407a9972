"""The configuration: ``mosaicfs.toml`` in the home, overridden by ``MOSAICFS_{SECTION}_{KEY}`` in the environment.

Every value has a default and a check. A wrong one raises ``ConfigError`` that names the file, the line, the key and
what was expected; a wrong variable is named instead. ``FIELDS`` is the whole list, for the documentation and its test.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import msgspec

from mosaicfs_core.errors import ConfigError

REFUSED_PROGRAMS: Final = (
    "baloo_file",
    "baloo_file_extractor",
    "evince-thumbnailer",
    "ffmpegthumbnailer",
    "gdk-pixbuf-thumbnailer",
    "glycin-thumbnailer",
    "gnome-thumbnail-font",
    "gsf-office-thumbnailer",
    "kioslave",
    "kio-thumbnail",
    "localsearch-3",
    "localsearch-extractor-3",
    "recollindex",
    "thumbnail.so",
    "totem-video-thumbnailer",
    "tracker-extract-3",
    "tracker-miner-fs-3",
    "tumblerd",
    "updatedb",
    "updatedb.mlocate",
    "updatedb.plocate",
)
"""Programs that open every file they come across: they draw icons or build indexes of their own."""


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[server]``: where the API and the pages are served. ``tls`` is ``auto`` (beyond loopback), ``on`` or ``off``;
    ``names`` are further names and addresses that its certificate is for."""

    host: str = "127.0.0.1"
    port: int = 6672
    tls: str = "auto"
    names: tuple[str, ...] = ()


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[agent]``: this machine's name, when its full crawl begins (local time ``HH:MM``, empty: never), plugins that
    are not even imported, where other machines fetch its files (``listen_host``, ``listen_port``) and the addresses
    that they are told for it (``endpoints``, found out when empty), and the port of its own API on loopback."""

    name: str = ""
    nightly_crawl: str = "03:00"
    disabled_plugins: tuple[str, ...] = ()
    listen_host: str = "0.0.0.0"
    listen_port: int = 6673
    endpoints: tuple[str, ...] = ()
    api_port: int = 6674


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[cache]``: how much of other machines' files is kept on this one's disk, and what is left free there."""

    max_bytes: int = 10_000_000_000
    min_free_bytes: int = 1_000_000_000


class MountConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[mount]``: which programs get no bytes over the network, and how many everybody gets per minute (0: any)."""

    refuse_programs: tuple[str, ...] = REFUSED_PROGRAMS
    remote_bytes_per_minute: int = 0


class HubConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[hub]``: the CouchDB database that this control plane shares with others, and how to sign in there. The
    password comes from the variable ``MOSAICFS_HUB_PASSWORD`` or from ``password_file`` (relative to the home)."""

    url: str = ""
    user: str = ""
    password_file: str = "hub_password"
    ca_file: str = ""


class LoggingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[logging]``: ``rotate_bytes`` and ``keep`` bound the log; ``format`` is ``auto``, ``human`` or ``json``."""

    level: str = "info"
    format: str = "auto"
    rotate_bytes: int = 50_000_000
    keep: int = 5


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All sections."""

    server: ServerConfig = ServerConfig()
    agent: AgentConfig = AgentConfig()
    cache: CacheConfig = CacheConfig()
    mount: MountConfig = MountConfig()
    hub: HubConfig = HubConfig()
    logging: LoggingConfig = LoggingConfig()


@dataclass(frozen=True)
class Field:
    """One key: ``convert`` checks a value as TOML has it and returns it as the configuration holds it, raising
    ValueError; ``expected`` completes "expected …"; ``help`` is one line of documentation."""

    section: str
    key: str
    expected: str
    help: str
    convert: Callable[[Any], Any]

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"MOSAICFS_{self.section}_{self.key}".upper()

    def read(self, text: str) -> Any:
        """A variable's text as TOML would have the value. Raises ValueError."""
        default = getattr(getattr(Config(), self.section), self.key)
        if isinstance(default, tuple):
            return [part.strip() for part in text.split(",") if part.strip()]
        return int(text) if isinstance(default, int) else text


class _Unshown(ValueError):
    """What is wrong with a value that must not be repeated."""


def hub_url(value: Any) -> str:
    """The address of a hub's database, "" for none. Raises ``ValueError``; of one with a password in it, the error does
    not repeat it."""
    if value == "":
        return ""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise ValueError(value)
    if "@" in value:
        raise _Unshown(
            "has a user or a password in it. Addresses are shown and logged: set hub.user, and put the password into"
            f" the file hub.password_file or the variable {HUB_PASSWORD}. Where it was on a command line or in a file"
            " that others read, change it"
        )
    parts = urlsplit(value.rstrip("/"))
    database = parts.path.rpartition("/")[2]
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(value)
    if re.fullmatch(r"[a-z][a-z0-9_$()+-]*", database) is None:
        raise ValueError(value)
    _ = parts.port  # ValueError for one that is no port
    return value.rstrip("/")


def _text(pattern: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise ValueError(value)
        return value

    return convert


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(value)
        return value

    return convert


def _choice(*allowed: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise ValueError(value)
        return value.lower()

    return convert


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name for name in value):
        raise ValueError(value)
    return tuple(value)


def _addresses(value: Any) -> tuple[str, ...]:
    given = _names(value)
    if not all(re.fullmatch(r"https?://[^\s/]+", address) for address in given):
        raise ValueError(value)
    return tuple(address.rstrip("/") for address in given)


def _host_names(value: Any) -> tuple[str, ...]:
    names = _names(value)
    for name in names:
        if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}", name) is None:
            raise ValueError(value)
    return names


HUB_PASSWORD: Final = "MOSAICFS_HUB_PASSWORD"
"""The variable with the hub's password. It is no setting, so that it cannot stand in a file that is shown."""
LEVELS: Final = ("debug", "info", "warning", "error")
FIELDS: Final = (
    Field("server", "host", "a host name or an IP address", "Where the server listens.", _text(r"[^\s/]+")),
    Field("server", "port", "an integer from 0 to 65535", "TCP port; 0 takes a free one.", _integer(0, 65535)),
    Field(
        "server",
        "tls",
        "one of auto, on, off",
        "auto encrypts beyond loopback, where off is refused.",
        _choice("auto", "on", "off"),
    ),
    Field(
        "server",
        "names",
        "a list of host names and addresses (in the variable: separated by commas)",
        "Further names and addresses that the server's certificate is for.",
        _host_names,
    ),
    Field("agent", "name", "a name without control characters", "This machine's name.", _text(r"[^\x00-\x1f\x7f]*")),
    Field(
        "agent",
        "nightly_crawl",
        'a time "HH:MM", or "" for never',
        "When the nightly full crawl begins, local time.",
        _text(r"(?:(?:[01]\d|2[0-3]):[0-5]\d)?"),
    ),
    Field(
        "agent",
        "disabled_plugins",
        "a list of plugin names (in the variable: separated by commas)",
        "Plugins that are listed but not imported.",
        _names,
    ),
    Field(
        "agent",
        "listen_host",
        "a host name or an IP address",
        "Where an enrolled agent listens for other machines, with TLS.",
        _text(r"[^\s/]+"),
    ),
    Field(
        "agent",
        "listen_port",
        "an integer from 0 to 65535",
        "TCP port for other machines; 0 takes a free one.",
        _integer(0, 65535),
    ),
    Field(
        "agent",
        "endpoints",
        "a list of addresses like https://192.168.1.5:6673 (in the variable: separated by commas)",
        "Addresses at which other machines reach this one, when they cannot be found out.",
        _addresses,
    ),
    Field(
        "agent",
        "api_port",
        "an integer from 0 to 65535",
        "TCP port of the agent's own API on loopback; 0 takes a free one.",
        _integer(0, 65535),
    ),
    Field(
        "cache",
        "max_bytes",
        "an integer from 0 to 10**15",
        "How much is kept of other machines' files.",
        _integer(0, 10**15),
    ),
    Field(
        "cache",
        "min_free_bytes",
        "an integer from 0 to 10**15",
        "How much the cache leaves free on its disk.",
        _integer(0, 10**15),
    ),
    Field(
        "mount",
        "refuse_programs",
        "a list of program names (in the variable: separated by commas)",
        "Programs that get no bytes over the network through the mount.",
        _names,
    ),
    Field(
        "mount",
        "remote_bytes_per_minute",
        "an integer from 0 to 10**15",
        "How much the mount fetches over the network per minute; 0: no limit.",
        _integer(0, 10**15),
    ),
    Field(
        "hub",
        "url",
        'the address of a database, such as "https://couch.example:6984/mosaicfs", without user and password',
        "The CouchDB database that control planes share; empty: none.",
        hub_url,
    ),
    Field("hub", "user", "a user name", "Who signs in to the hub; empty: nobody.", _text(r"[^\x00-\x1f\x7f:]*")),
    Field(
        "hub",
        "password_file",
        "a path",
        "A file of mode 0600 with the password in its first line, unless MOSAICFS_HUB_PASSWORD has it.",
        _text(r"[^\x00]+"),
    ),
    Field(
        "hub",
        "ca_file",
        'a path, or ""',
        "The PEM certificate of the authority that the hub's certificate is of; empty: those the system trusts.",
        _text(r"[^\x00]*"),
    ),
    Field(
        "logging", "level", "one of " + ", ".join(LEVELS), "The least severe level that is logged.", _choice(*LEVELS)
    ),
    Field(
        "logging",
        "format",
        "one of auto, human, json",
        "auto is human on a terminal and JSON otherwise.",
        _choice("auto", "human", "json"),
    ),
    Field(
        "logging",
        "rotate_bytes",
        "an integer from 100000 to 1000000000",
        "A log file is rotated when it grows past this.",
        _integer(100_000, 1_000_000_000),
    ),
    Field("logging", "keep", "an integer from 1 to 100", "How many rotated log files stay.", _integer(1, 100)),
)
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
    except _Unshown as error:
        _fail(where, str(error))
    except ValueError:
        _fail(where, f"expected {field.expected}, not {value!r}")


def _place(file: Path, text: str, section: str, key: str) -> str:
    return f"{file}, line {line_of(text, section, key)}, {section}.{key}"


def _fail(where: str, problem: str) -> NoReturn:
    raise ConfigError(f"{where}: {problem}", where=where)
