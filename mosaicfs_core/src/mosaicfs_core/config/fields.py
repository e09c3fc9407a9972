"""Every key of the configuration: what it means, what is expected of it, and how a value is checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mosaicfs_core.config.sections import Config

HUB_PASSWORD: Final = "MOSAICFS_HUB_PASSWORD"
"""The variable with the hub's password. It is no setting, so that it cannot stand in a file that is shown."""
LEVELS: Final = ("debug", "info", "warning", "error")


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


class Unshown(ValueError):
    """What is wrong with a value that must not be repeated."""


def hub_url(value: Any) -> str:
    """The address of a hub's database, "" for none. Raises ``ValueError``; of one with a password in it, the error does
    not repeat it."""
    if value == "":
        return ""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise ValueError(value)
    if "@" in value:
        raise Unshown(
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
    if not all(re.fullmatch(r"https://[^\s/]+|http://(localhost|127\.[\d.]+|\[::1\])(:\d+)?", one) for one in given):
        raise ValueError(value)
    return tuple(address.rstrip("/") for address in given)


def _host_names(value: Any) -> tuple[str, ...]:
    names = _names(value)
    for name in names:
        if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}", name) is None:
            raise ValueError(value)
    return names


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
        "a list of https addresses like https://192.168.1.5:6673 (in the variable: separated by commas)",
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
