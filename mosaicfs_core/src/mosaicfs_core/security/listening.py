"""Hypercorn with a TLS context that was made elsewhere, so that a renewed certificate is shown without a restart."""

from __future__ import annotations

import ssl

from hypercorn.config import Config


class ListenerConfig(Config):
    """Hypercorn's configuration for a listener of ours: TLS with ``context``, or none without it."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._context = context
        if context is not None:
            # RFC 7540, section 9.2.1: HTTP/2 and compression below it do not go together.
            context.options |= ssl.OP_NO_COMPRESSION
            context.set_alpn_protocols(self.alpn_protocols)

    @property
    def ssl_enabled(self) -> bool:
        """Whether it speaks TLS."""
        return self._context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        """The context that was given."""
        return self._context
