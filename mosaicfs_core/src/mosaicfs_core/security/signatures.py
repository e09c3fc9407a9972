"""Signed requests: the text that is signed, the header that carries the signature, and the window in time. Pure.

The header, on one line::

    Authorization: MOSAICFS-HMAC-SHA256 AccessKeyId=…, Timestamp=…, Nonce=…, Signature=…

``AccessKeyId`` is a user's access key id or a node's id. The signature is HMAC-SHA256, as 64 hexadecimal digits, over
nine lines joined by line feeds: the algorithm's name, the access key id, the method, the node the request is for, the
path with its query exactly as it is sent, the timestamp (in the form of documents), the nonce, the ``Range`` header
(empty when there is none), and the SHA-256 of the body in hexadecimal digits. No line can hold a line feed, so no two
requests have the same text.

These forms are the protocol: vectors in the tests pin them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

import msgspec

from mosaicfs_core.documents import ids, times
from mosaicfs_core.errors import ClockSkew, NotSignedIn, UserError

SCHEME: Final = "MOSAICFS-HMAC-SHA256"
CONTROL_PLANE: Final = ids.CONTROL_PLANE
"""The name that users' requests may give as destination instead of the control plane's node id."""
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

REFUSED_SKEW_S: Final = 300
WARNED_SKEW_S: Final = 120
MAX_HEADER: Final = 1024
NONCE_BYTES: Final = 16

_FIELDS: Final = ("AccessKeyId", "Timestamp", "Nonce", "Signature")
_field = re.compile(r"([A-Za-z]{1,20})=([^\s,=]{1,256})").fullmatch
_is_key_id = re.compile(r"MOSAICFS_[0-9a-f]{16}|" + ids.NODE_ID_PATTERN).fullmatch
_is_nonce = re.compile(r"[A-Za-z0-9_-]{16,64}").fullmatch
_is_signature = re.compile(r"[0-9a-f]{64}").fullmatch
_has_control = re.compile(r"[\x00-\x1f\x7f]").search


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature is about. ``path`` begins with a slash and includes the query as it is sent; ``range`` is the
    header's value or empty; ``body_sha256`` is in hexadecimal digits."""

    method: str
    destination: str
    path: str
    range: str = ""
    body_sha256: str = EMPTY_SHA256


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What an ``Authorization`` header claims; nothing of it is proven yet."""

    key_id: str
    timestamp: str
    nonce: str
    signature: str

    @property
    def signed_at(self) -> int:
        """The timestamp in microseconds."""
        return times.parse_canonical(self.timestamp)


def sha256_of(body: bytes | None) -> str:
    """The digest of a body as ``Target`` takes it."""
    return hashlib.sha256(body or b"").hexdigest()


def new_nonce() -> str:
    """A text that no other request carries."""
    return secrets.token_urlsafe(NONCE_BYTES)


def canonical(target: Target, key_id: str, timestamp: str, nonce: str) -> bytes:
    """The text that is signed. Raises ``UserError`` when a part holds a control character, a line feed above all."""
    lines = (
        SCHEME,
        key_id,
        target.method.upper(),
        target.destination,
        target.path,
        timestamp,
        nonce,
        target.range,
        target.body_sha256,
    )
    for line in lines:
        if _has_control(line):
            raise UserError("a request with control characters in its head cannot be signed")
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def signature_of(key: bytes, target: Target, key_id: str, timestamp: str, nonce: str) -> str:
    """The signature, in hexadecimal digits."""
    return hmac.new(key, canonical(target, key_id, timestamp, nonce), hashlib.sha256).hexdigest()


def authorization(key: bytes, key_id: str, target: Target, *, now: int | None = None, nonce: str | None = None) -> str:
    """The value of the ``Authorization`` header that signs a request. ``now`` in microseconds."""
    timestamp = times.format_time(times.now_micros() if now is None else now)
    once = new_nonce() if nonce is None else nonce
    signature = signature_of(key, target, key_id, timestamp, once)
    return f"{SCHEME} AccessKeyId={key_id}, Timestamp={timestamp}, Nonce={once}, Signature={signature}"


def is_signed(header: str) -> bool:
    """Whether an ``Authorization`` header is of this scheme at all."""
    return header.partition(" ")[0].upper() == SCHEME


def no_key_id(text: str) -> str:
    """What to say of something that is no access key id."""
    form = "which is MOSAICFS_ and 16 hexadecimal digits"
    return f"{text!r} is not an access key id, {form}: `mosaicfs credentials list` shows those that there are"


def parse(header: str) -> Claim:
    """The claim of a header. Raises ``NotSignedIn`` for whatever is not exactly of the form, never anything else."""
    scheme, _, rest = header.partition(" ")
    if len(header) > MAX_HEADER or scheme.upper() != SCHEME:
        raise NotSignedIn(f"expected Authorization: {SCHEME} with {', '.join(_FIELDS)}")
    found: dict[str, str] = {}
    for part in rest.split(","):
        matched = _field(part.strip(" "))
        if matched is None or matched[1] not in _FIELDS or matched[1] in found:
            raise NotSignedIn(f"the signature's header is damaged: expected {', '.join(_FIELDS)}, each once")
        found[matched[1]] = matched[2]
    if len(found) != len(_FIELDS):
        missing = next(name for name in _FIELDS if name not in found)
        raise NotSignedIn(f"the signature's header lacks {missing}")
    claim = Claim(
        key_id=found["AccessKeyId"],
        timestamp=found["Timestamp"],
        nonce=found["Nonce"],
        signature=found["Signature"],
    )
    if not _is_key_id(claim.key_id):
        raise NotSignedIn(no_key_id(claim.key_id))
    if not (_is_nonce(claim.nonce) and _is_signature(claim.signature)):
        raise NotSignedIn("the signature's header is damaged: its parts do not have the form they should")
    try:
        times.parse_canonical(claim.timestamp)
    except UserError as error:
        raise NotSignedIn(f"the signature's header is damaged: {error.message}") from None
    return claim


def holds(key: bytes, claim: Claim, target: Target) -> bool:
    """Whether the claim's signature was made with the key for exactly this request. Takes the same time either way."""
    try:
        expected = signature_of(key, target, claim.key_id, claim.timestamp, claim.nonce)
    except UserError:  # a control character, which nothing that was signed holds
        return False
    return hmac.compare_digest(expected, claim.signature)


def skew_of(claim: Claim, now: int) -> float:
    """Seconds that the signer's clock seems ahead of ours (``now``, in microseconds); negative when it is behind.

    Raises ``ClockSkew``, which names the clock, beyond ``REFUSED_SKEW_S`` either way.
    """
    skew = (claim.signed_at - now) / times.MICROS_PER_SECOND
    if abs(skew) > REFUSED_SKEW_S:
        raise ClockSkew(
            f"the clock of the machine that signs with {claim.key_id} is {describe_skew(skew)} that of the one that it"
            f" asked ({times.format_time(now)}); requests more than 5 minutes apart are refused. Set the clock that is"
            " wrong, as a rule on the machine that sent the request (sudo timedatectl set-ntp true)",
            key_id=claim.key_id,
            skew_s=round(skew, 3),
            time_here=times.format_time(now),
            time_signed=claim.timestamp,
        )
    return skew


def describe_skew(seconds: float) -> str:
    """``10 min 3 s behind`` for -603.2, ``3 min 0 s ahead of`` for 180."""
    amount = round(abs(seconds))
    days, rest = divmod(amount, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        told = f"{days} d {hours} h"
    elif hours:
        told = f"{hours} h {minutes} min"
    else:
        told = f"{minutes} min {left} s"
    return f"{told} {'ahead of' if seconds > 0 else 'behind'}"
