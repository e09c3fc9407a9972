"""An agent's listener for other machines: its certificate, where it is, and keeping both true."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from quart import Quart

from mosaicfs_core.cli.endpoints import endpoints
from mosaicfs_core.config import AgentConfig, ServerConfig
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.home import Home
from mosaicfs_core.security import joining
from mosaicfs_core.security.authority import ServerCertificate, server_context
from mosaicfs_core.security.enrolment import Enrolment
from mosaicfs_core.security.requests import Requests
from mosaicfs_core.server.peers import serving_peers
from mosaicfs_core.server.serve import bind

logger = logging.getLogger(__name__)
CHECK_S: Final = 6 * 3600.0


class ListenerOfAgent:
    """Serves other machines, where the configuration says. Raises ``Unavailable`` when the port is taken."""

    def __init__(self, home: Home, known: Enrolment, requests: Requests, config: AgentConfig) -> None:
        self._home = home
        self._known = known
        self._requests = requests
        self._config = config
        self._certificate = ServerCertificate(home)
        self._context = server_context(self._certificate.chain_file, self._certificate.key_file)
        self._port: int | None = None

    @asynccontextmanager
    async def serving(self, app: Quart) -> AsyncIterator[None]:
        """Serve around a block."""
        wanted = ServerConfig(host=self._config.listen_host, port=self._config.listen_port, tls="on")
        async with serving_peers(app, bind(wanted, "agent.listen_host"), self._context) as port:
            self._port = port
            yield
        self._port = None

    def endpoints(self) -> tuple[str, ...]:
        """Where other machines reach it at the moment."""
        if self._port is None:
            return ()
        return endpoints(self._config.endpoints, self._config.listen_host, self._port)

    async def keep_fresh(self) -> None:
        """Have the certificate renewed before it ends, for as long as it runs."""
        while True:
            try:
                if await joining.renew(self._home, self._known, self._requests):
                    self._certificate.load_into(self._context)
                    logger.info("the certificate was renewed", extra={"operation": "tls"})
            except MosaicError as error:  # it is asked for long before the present one ends
                logger.info("the certificate was not renewed now: %s", error, extra={"operation": "tls"})
            await asyncio.sleep(CHECK_S)
