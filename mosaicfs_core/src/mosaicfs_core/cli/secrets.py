"""Secrets from the person at the terminal: never from an argument, where every user of the machine could read them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

from mosaicfs_core.errors import UserError

SECRET_VARIABLE: Final = "MOSAICFS_SECRET_KEY"
_MAX_SECRET: Final = 4096


def ask_secret(access_key_id: str) -> str:
    """Ask for the secret of an access key, without showing what is typed. Raises ``UserError`` without a terminal."""
    if not sys.stdin.isatty():
        raise UserError(f"the secret of {access_key_id} is needed: set {SECRET_VARIABLE}, or run this on a terminal")
    import getpass

    return _checked(getpass.getpass(f"Secret of {access_key_id}: "))


def secret_for(access_key_id: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret of an access key: from ``MOSAICFS_SECRET_KEY``, the terminal, or what is piped to standard input."""
    given = (os.environ if environ is None else environ).get(SECRET_VARIABLE)
    if given:
        return _checked(given)
    if sys.stdin.isatty():
        return ask_secret(access_key_id)
    return _checked(sys.stdin.readline(_MAX_SECRET))


def _checked(text: str) -> str:
    from mosaicfs_core.security.user_keys import SECRET_PATTERN

    secret = text.strip()
    if SECRET_PATTERN.fullmatch(secret) is None:
        raise UserError("this is no secret of an access key: expected mosaicfs_ and 43 characters")
    return secret
