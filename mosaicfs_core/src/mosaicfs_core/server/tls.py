"""TLS for the control plane's listener: a certificate of its own authority, renewed while it serves."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from typing import Final

from mosaicfs_core.config import ServerConfig
from mosaicfs_core.documents import ids
from mosaicfs_core.home import Home
from mosaicfs_core.security.addresses import LOOPBACK, host_names, is_loopback, machine_addresses
from mosaicfs_core.security.authority import Authority, ServerCertificate, server_context
from mosaicfs_core.security.certificates import is_name

logger = logging.getLogger(__name__)
CHECK_SECONDS: Final = 6 * 3600.0


def wanted(config: ServerConfig, address: str) -> bool:
    """Whether a listener at this address speaks TLS: beyond loopback always."""
    return config.tls == "on" or not is_loopback(address)


def names_for(config: ServerConfig, *node_ids: str) -> list[str]:
    """What the control plane's certificate is for: its node id (and that of its machine, whose files it serves as
    well) and the reserved name, for those who know it by them, and whatever may stand in an address."""
    given = [*config.names] if is_wildcard(config.host) else [*config.names, config.host]
    names = [*node_ids, ids.CONTROL_PLANE, *LOOPBACK, *host_names(), *machine_addresses(), *given]
    return list(dict.fromkeys(name.lower() for name in names if is_name(name)))


def is_wildcard(host: str) -> bool:
    """Whether a host means every address of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""


class Tls:
    """The TLS side of one listener."""

    def __init__(self, home: Home, config: ServerConfig, control_plane_id: str, *also: str) -> None:
        self._home = home
        self._config = config
        self._node_ids = (control_plane_id, *also)
        self._certificate = ServerCertificate(home)
        self.authority = Authority.of_home(home)
        self._certificate.ensure(self.authority, self._names())
        self.context = server_context(self._certificate.chain_file, self._certificate.key_file)

    def _names(self) -> Sequence[str]:
        return names_for(self._config, *self._node_ids)

    def refresh(self) -> bool:
        """Have a new certificate made when the present one ends soon or lacks a name of the machine, and show it from
        the next connection on; whether that was so."""
        if not self._certificate.ensure(self.authority, self._names()):
            return False
        self._certificate.load_into(self.context)
        logger.info("the server's certificate was renewed", extra={"operation": "tls"})
        return True

    async def keep_fresh(self) -> None:
        """Refresh for as long as it runs."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await asyncio.to_thread(self.refresh)
