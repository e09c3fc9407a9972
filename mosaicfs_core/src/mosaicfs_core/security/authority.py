"""The instance's own certificate authority, and the certificates that lie in a home's ``certs`` directory (0600).

========================  ============================================================================
``ca.pem``, ``ca.key``    the authority; the key on the control plane alone
``server.pem``            the certificate of this node's listener and the authority's, one after the other
``server.key``            its private key, made here
========================  ============================================================================

An authority is made once and never by itself again: every agent and every browser that trusts it would have to be told.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509

from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home, write_private
from mosaicfs_core.security import certificates

Clock = Callable[[], datetime.datetime]


def utc_now() -> datetime.datetime:
    """The present."""
    return datetime.datetime.now(datetime.UTC)


class Authority:
    """The authority of an instance. ``certificate`` is its own."""

    def __init__(self, certificate: x509.Certificate, key: certificates.PrivateKey, clock: Clock = utc_now) -> None:
        self.certificate = certificate
        self._key = key
        self._clock = clock

    @classmethod
    def of_home(cls, home: Home, *, clock: Clock = utc_now) -> Authority:
        """The authority of a home, made on first use. Raises ``UserError`` when one of its files is missing or
        damaged: a new authority in its place would be trusted by nobody."""
        certificate_file, key_file = home.certs_dir / "ca.pem", home.certs_dir / "ca.key"
        if not key_file.exists() and not certificate_file.exists():
            key = certificates.new_key()
            made = certificates.make_authority(key, "MosaicFS authority", clock())
            # The certificate last: a crash between the two leaves a key without one, which is made again.
            write_private(key_file, certificates.key_pem(key))
            write_private(certificate_file, certificates.pem_of(made).encode())
            return cls(made, key, clock)
        if not certificate_file.exists():
            key = certificates.load_key(key_file.read_bytes())
            made = certificates.make_authority(key, "MosaicFS authority", clock())
            write_private(certificate_file, certificates.pem_of(made).encode())
            return cls(made, key, clock)
        if not key_file.exists():
            raise UserError(f"{key_file} is missing; restore it from the recovery kit")
        certificate, key = (
            certificates.load(certificate_file.read_bytes()),
            certificates.load_key(key_file.read_bytes()),
        )
        if certificate.public_key() != key.public_key():
            raise UserError(
                f"{certificate_file} and {key_file} do not belong together; restore both from the recovery kit"
            )
        return cls(certificate, key, clock)

    @property
    def pem(self) -> str:
        """The authority's certificate, for those who are to trust it."""
        return certificates.pem_of(self.certificate)

    @property
    def fingerprint(self) -> str:
        """The authority's SHA-256 fingerprint, for people to compare."""
        return certificates.fingerprint(self.certificate)

    def issue(self, request_pem: str, node_id: str) -> str:
        """A certificate for a node's listener, as PEM: for its node id alone, whatever the request asks for. Raises
        ``UserError`` for a damaged request."""
        key = certificates.requested_key(request_pem)
        made = certificates.issue(self.certificate, self._key, key, node_id, [node_id], self._clock())
        return certificates.pem_of(made)

    def issue_own(self, key: certificates.PrivateKey, names: Iterable[str]) -> str:
        """A certificate for a server on this machine, as PEM."""
        given = list(dict.fromkeys(names))
        made = certificates.issue(self.certificate, self._key, key.public_key(), given[0], given, self._clock())
        return certificates.pem_of(made)


class ServerCertificate:
    """The certificate of this home's listener."""

    def __init__(self, home: Home) -> None:
        self.chain_file = home.certs_dir / "server.pem"
        self.key_file = home.certs_dir / "server.key"

    def key(self) -> certificates.PrivateKey:
        """The private key, made on first use."""
        if not self.key_file.exists():
            write_private(self.key_file, certificates.key_pem(certificates.new_key()))
        return certificates.load_key(self.key_file.read_bytes())

    def install(self, certificate_pem: str, authority_pem: str) -> None:
        """Put a certificate in place, followed by the authority's, which those who enrol read from the handshake."""
        write_private(self.chain_file, certificate_pem.encode() + authority_pem.encode())

    def present(self) -> x509.Certificate | None:
        """The certificate that is in place."""
        try:
            return certificates.load(self.chain_file.read_bytes())
        except (FileNotFoundError, UserError):
            return None

    def is_good(self, authority: x509.Certificate, names: Iterable[str] = (), *, now: datetime.datetime) -> bool:
        """Whether it is the authority's, for these names, for our key, and does not end soon."""
        found = self.present()
        return (
            found is not None
            and self.key_file.exists()
            and found.public_key() == self.key().public_key()
            and certificates.issued_by(found, authority)
            and not certificates.needs_renewal(found, now, set(names))
        )

    def ensure(self, authority: Authority, names: Iterable[str], *, clock: Clock = utc_now) -> bool:
        """Have the authority of this home issue one where none is good; whether a new one was made.

        Names that an earlier one had are not kept: addresses come and go.
        """
        wanted = list(dict.fromkeys(names))
        if self.is_good(authority.certificate, wanted, now=clock()):
            return False
        self.install(authority.issue_own(self.key(), wanted), authority.pem)
        return True

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a server's TLS context show it from the next handshake on."""
        context.load_cert_chain(self.chain_file, self.key_file)


def server_context(chain: Path, key: Path) -> ssl.SSLContext:
    """A TLS context for a listener: TLS 1.2 or newer."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(chain, key)
    return context


def client_context(ca_pem: str | None) -> ssl.SSLContext:
    """A TLS context for requests that trusts this authority alone, or, without one, those that the system trusts.

    Certificates and names are always checked. Raises ``UserError`` when the PEM is damaged.
    """
    if ca_pem is None:
        context = ssl.create_default_context()
    else:
        try:
            context = ssl.create_default_context(cadata=ca_pem)
        except (ssl.SSLError, ValueError) as error:
            raise UserError(f"the authority's certificate is damaged: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
