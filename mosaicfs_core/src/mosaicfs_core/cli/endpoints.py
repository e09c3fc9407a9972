"""The addresses at which other machines are told to reach this one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from mosaicfs_core.security.addresses import machine_addresses
from mosaicfs_core.server.tls import is_wildcard

MOST = 4
"""More addresses than this would only be tried in vain, one after the other."""


def endpoints(configured: Sequence[str], host: str, port: int) -> tuple[str, ...]:
    """``https`` addresses for a listener: the configured ones, else those that this machine has at the moment."""
    if configured:
        return tuple(configured)
    hosts = machine_addresses()[:MOST] if is_wildcard(host) else (host,)
    return tuple(f"https://{_in_brackets(one)}:{port}" for one in hosts)


def _in_brackets(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
