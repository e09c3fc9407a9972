"""Certificates as values: making, checking and naming them. No files.

A node is named in its certificate by its node id, which stands there as a DNS name that only the instance's authority
hands out: whoever connects to a node asks for that name, whatever address the node has today, and no node can pass for
another. The control plane's certificate also names its host and its addresses, for browsers.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterable
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mosaicfs_core.errors import UserError

AUTHORITY_DAYS: Final = 7300
# Browsers refuse server certificates that live longer than this.
SERVER_DAYS: Final = 397
RENEW_BEFORE_DAYS: Final = 60
# A machine whose clock is a little behind must be able to use what was just made.
BACKDATED: Final = datetime.timedelta(days=1)
MAX_REQUEST: Final = 8192
_MIN_RSA_BITS: Final = 2048
_is_host_name = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z", re.IGNORECASE
).match

PrivateKey = ec.EllipticCurvePrivateKey
_PUBLIC_KEYS: Final = (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)


def new_key() -> PrivateKey:
    """A fresh private key (P-256, which every TLS library takes)."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> PrivateKey:
    """A private key of the kind made here. Raises ``UserError``."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise UserError(f"the private key is damaged: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError("the private key is of an unexpected kind")
    return key


def load(pem: bytes | str) -> x509.Certificate:
    """The first certificate of a PEM text. Raises ``UserError``."""
    try:
        return x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
    except ValueError as error:
        raise UserError(f"the certificate is damaged: {error}") from None


def pem_of(certificate: x509.Certificate) -> str:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate as 32 pairs of digits, the way ``openssl x509 -fingerprint -sha256`` shows it."""
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def same_fingerprint(given: str, certificate: x509.Certificate) -> bool:
    """Whether a fingerprint that somebody typed is the certificate's: case, colons, blanks and a leading ``SHA256``
    do not count, every digit does. Raises ``UserError`` when it is no SHA-256 fingerprint at all."""
    plain = re.sub(r"^\s*sha-?256( fingerprint)?[:=\s]", "", given, flags=re.IGNORECASE)
    digits = re.sub(r"[:\s-]", "", plain).upper()
    if re.fullmatch("[0-9A-F]{64}", digits) is None:
        raise UserError("the fingerprint: expected the 64 hexadecimal digits of a SHA-256 (32 pairs with colons)")
    return digits == fingerprint(certificate).replace(":", "")


def make_authority(key: PrivateKey, name: str, now: datetime.datetime) -> x509.Certificate:
    """A self-signed authority, good for signing certificates of servers and nothing else."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def issue(
    authority: x509.Certificate,
    authority_key: PrivateKey,
    public_key: object,
    common_name: str,
    names: Iterable[str],
    now: datetime.datetime,
) -> x509.Certificate:
    """A server's certificate for these host names and addresses. Raises ``UserError`` for an unsafe public key."""
    if not isinstance(public_key, _PUBLIC_KEYS) or (
        isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size < _MIN_RSA_BITS
    ):
        raise UserError(
            "the certificate request: expected a P-256, Ed25519 or RSA key of 2,048 bits or more", field="csr"
        )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    issuer_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, authority.subject, public_key, now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def make_request(key: PrivateKey) -> str:
    """A request for a certificate, as PEM. It asks for no name: the authority alone says who somebody is."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a node")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def requested_key(pem: str) -> object:
    """The public key of a request whose sender has the private key. Everything else in it is ignored. Raises
    ``UserError``."""
    if len(pem) > MAX_REQUEST:
        raise UserError("the certificate request is too large", field="csr")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        valid = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType, InvalidSignature) as error:
        raise UserError(f"the certificate request is damaged: {error}", field="csr") from None
    except Exception as error:  # cryptography raises its own kinds for keys that it does not know
        if type(error).__module__.startswith("cryptography"):
            raise UserError("the certificate request holds a key of an unknown kind", field="csr") from None
        raise
    if not valid:
        raise UserError("the certificate request is not signed by its own key", field="csr")
    return key


def names_of(certificate: x509.Certificate) -> set[str]:
    """The host names and addresses a certificate is for."""
    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in value}


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate is that of an authority that signed itself."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and issued_by(certificate, certificate)


def needs_renewal(certificate: x509.Certificate, now: datetime.datetime, wanted: Collection[str] = ()) -> bool:
    """Whether it ends within ``RENEW_BEFORE_DAYS``, does not hold yet, or lacks a name that it should have."""
    ends_soon = certificate.not_valid_after_utc - datetime.timedelta(days=RENEW_BEFORE_DAYS) <= now
    return ends_soon or now < certificate.not_valid_before_utc or not set(wanted) <= names_of(certificate)


def is_name(text: str) -> bool:
    """Whether a text is a host name or an address that a certificate can be for."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _is_host_name(text) is not None
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now - BACKDATED + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
