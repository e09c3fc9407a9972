"""Where the hub is and how to sign in there: the configuration, and the two files that it names."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mosaicfs_core.config import HUB_PASSWORD, HubConfig
from mosaicfs_core.errors import ConfigError, UserError
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import HubAddress
from mosaicfs_core.security.authority import client_context

_MAX_PASSWORD: Final = 4096


def hub_address(home: Home, config: HubConfig, environ: Mapping[str, str] | None = None) -> HubAddress:
    """The address of the configured hub. Raises ``ConfigError`` for files that are missing or open to others."""
    password = ""
    if config.user:
        given = (os.environ if environ is None else environ).get(HUB_PASSWORD)
        password = given or _password_of(_in_home(home, config.password_file))
    ca_pem = None
    if config.ca_file:
        file = _in_home(home, config.ca_file)
        ca_pem = _text_of(file, "hub.ca_file")
        try:
            client_context(ca_pem)
        except UserError as error:
            raise ConfigError(f"hub.ca_file: {file}: {error.message}") from None
    return HubAddress(url=config.url, user=config.user, password=password, ca_pem=ca_pem)


def _in_home(home: Home, path: str) -> Path:
    return home.path / Path(path).expanduser()


def _password_of(file: Path) -> str:
    text = _text_of(file, "hub.password_file", private=True)
    lines = text.splitlines()
    if not lines or not lines[0] or len(lines[0]) > _MAX_PASSWORD:
        raise ConfigError(f"{file}: expected the hub's password in the first line")
    return lines[0]


def _text_of(file: Path, key: str, *, private: bool = False) -> str:
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if private and mode & 0o077:
                raise ConfigError(
                    f"{file} can be read by others (mode {mode:04o}): run chmod 600 on it, and change the password"
                )
            return opened.read().decode("utf-8")
    except FileNotFoundError:
        hint = f": put the hub's password there (mode 0600), or set {HUB_PASSWORD}" if private else ""
        raise ConfigError(f"{key}: there is no file {file}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: {file} cannot be read: {error}") from None
