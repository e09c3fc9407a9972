"""Getting to know an instance's authority: read from a handshake, compared by fingerprint, trusted from then on.

The handshake of ``fetch_authority`` is the one place where a certificate is not checked, because there is nothing yet
to check it with. Nothing is sent over that connection and nothing read from it but the certificates themselves; it is
closed before the authority is used.
"""

from __future__ import annotations

import socket
import ssl
import sys
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509

from mosaicfs_core.errors import NotAllowed, Unavailable, UserError
from mosaicfs_core.security import certificates

CONNECT_SECONDS: Final = 10.0
DEFAULT_HTTPS: Final = 443


def host_and_port(url: str) -> tuple[str, int]:
    """Where an ``https`` address leads. Raises ``UserError`` for any other address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"{url!r} is not the address of an instance: {error}") from None
    if parts.scheme != "https" or not parts.hostname:
        raise UserError(f"{url!r} is not the address of an instance; expected https://host:port")
    return parts.hostname, DEFAULT_HTTPS if port is None else port


def fetch_authority(url: str) -> x509.Certificate:
    """The authority that the instance at ``url`` shows. Nobody vouches for it: compare its fingerprint.

    Blocks. Raises ``Unavailable`` when nothing answers there, ``UserError`` when what answers shows no authority of its
    own.
    """
    host, port = host_and_port(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            chain = [x509.load_der_x509_certificate(der) for der in _chain_of(secure)]
    except ssl.SSLError as error:
        raise UserError(f"{url} does not speak TLS ({error.reason or error}); is it MosaicFS's address?") from None
    except OSError as error:
        reason = "it did not answer in time" if isinstance(error, TimeoutError) else error.strerror or error
        gone = Unavailable(f"{url} cannot be reached: {reason}")
        gone.code = "unreachable"
        raise gone from error
    except ValueError as error:
        raise UserError(f"{url} shows a damaged certificate: {error}") from None
    authority = chain[-1] if len(chain) > 1 else None
    if authority is None or not certificates.is_authority(authority) or not certificates.issued_by(chain[0], authority):
        raise UserError(f"{url} shows no authority of its own: it is not MosaicFS, or a proxy stands in front of it")
    return authority


def pinned_authority(url: str, fingerprint: str) -> x509.Certificate:
    """The authority of the instance at ``url``, when it is the one with this fingerprint. Blocks. Raises
    ``NotAllowed`` when it is another one."""
    found = fetch_authority(url)
    require_same(url, fingerprint, found)
    return found


def require_same(url: str, expected: str, found: x509.Certificate) -> None:
    """Raise ``NotAllowed`` when the authority found is not the expected one."""
    if not certificates.same_fingerprint(expected, found):
        raise NotAllowed(
            f"{url} shows another authority than expected: {certificates.fingerprint(found)}. Another machine answers"
            " there, or its authority was made anew: compare with what `mosaicfs system fingerprint` says on the"
            " server. Nothing was changed",
            fingerprint=certificates.fingerprint(found),
        )


def _chain_of(connection: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the server showed, its own first, in DER."""
    if sys.version_info >= (3, 13):
        return list(connection.get_unverified_chain())
    # The public method came with 3.13; the object behind the socket has had it since 3.10.
    inner: Any = connection._sslobj  # type: ignore[attr-defined]  # private
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in inner.get_unverified_chain()]
