"""The machine's side of an enrolment: register, prove the new key, keep what the instance told, renew the certificate.

Nothing in the home says that the machine is enrolled before everything has worked: the keys are made first, and
``enrolment.json`` is written last. Whatever breaks on the way, the same call again goes on from there.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from mosaicfs_core.documents.ids import CONTROL_PLANE
from mosaicfs_core.errors import Conflict, NotAllowed, NotSignedIn, UserError
from mosaicfs_core.home import Home, write_private
from mosaicfs_core.security import certificates, enrolment, presence
from mosaicfs_core.security.authority import ServerCertificate, utc_now
from mosaicfs_core.security.enrolment import Enrolment
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner, Signer
from mosaicfs_core.security.requests import Requests, SignedRequests, Untrusted, raise_for_error

ANSWER_SECONDS: Final = 30.0
_Told = TypeVar("_Told", "_Answer", "_Answering")


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What ``POST /api/nodes`` tells (``EnrolledAnswer`` of the server)."""

    node_id: str
    name: str
    control_plane_id: str
    control_plane_key: str
    ca: str
    access_key_id: str | None = None
    certificate: str | None = None


class _Answering(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers ``GET /api/auth/whoami``. Neither is there where it is no control plane, or one of before."""

    control_plane_id: str | None = None
    control_plane_key: str | None = None


def refuse_other(home: Home, url: str, ca_pem: str | None, *, vouched: bool = False) -> Enrolment | None:
    """The enrolment that the home has already with the instance at ``url``, if any.

    ``ca_pem`` is the authority that the instance shows. Raises ``Conflict`` for a home that belongs to another
    instance, or is a control plane's, and ``NotAllowed`` when the instance that it belongs to shows another authority
    than before and nobody has ``vouched`` for the new one.
    """
    if home.control_plane_id_file.exists():
        raise Conflict(
            f"{home.path} is the home of a control plane, and its machine needs no enrolment there; to make this"
            " machine an agent of another one, give another home with --home"
        )
    known = enrolment.load(home)
    if known is None or ca_pem is None or _same_authority(known.ca_pem, ca_pem):
        return known
    if url in known.urls and vouched:
        return known
    if url in known.urls:
        raise NotAllowed(
            f"{url} shows another authority than the one that this machine was enrolled with. Another machine answers"
            " there, or the authority was made anew. If you know the latter to be so, run this again with"
            " --ca-fingerprint, as `mosaicfs system fingerprint` shows it on the control plane's machine. Nothing was"
            " changed"
        )
    raise Conflict(
        f"this home belongs to the control plane at {known.urls[0]}; give another home with --home, or delete"
        f" {home.enrolment_file} to leave it. Nothing was changed"
    )


async def join(
    home: Home, url: str, ca_pem: str | None, signer: Signer, name: str, *, destination: str = CONTROL_PLANE
) -> Enrolment:
    """Enrol this home's machine with the control plane at ``url``, as the holder of an access key.

    ``ca_pem`` is the pinned authority; without one (loopback) the authority is taken from the answer. Nothing is
    registered, and no access key bound, where the home turns out to belong to another control plane. Raises
    ``Conflict`` for that and when the access key belongs to another machine, ``NotSignedIn`` when it does not hold.
    """
    key, own = NodeKey.of_home(home), ServerCertificate(home)
    request = certificates.make_request(own.key())
    body = {
        "name": name,
        "platform": f"{sys.platform}-{platform.machine()}",
        "public_key": key.public,
        "csr": request,
        **_wish(home),
    }
    asking = SignedRequests(url, destination, signer, ca_pem)
    try:
        answering = await _answering(asking)
        _refuse_another_instance(home, url, answering.control_plane_id)
        answer = await _register_known(asking, body, key, answering, ca_pem)
    finally:
        await asking.close()
    if ca_pem is not None and not _same_authority(ca_pem, answer.ca):
        raise NotAllowed(f"{url} speaks of another authority than the one that it shows. Nothing was changed")
    made = _enrolment(home, url, answer)
    as_node = SignedRequests(url, made.control_plane_id, signer_of(made, key), ca_pem)
    try:
        # Signed with the new key either way: what works now works from now on.
        certificate = answer.certificate or (await _register(as_node, {**body, "node_id": made.node_id})).certificate
        async with as_node.request("GET", "/api/auth/whoami", timeout=ANSWER_SECONDS) as told:
            await raise_for_error(told)
    finally:
        await as_node.close()
    _install(own, certificate, made)
    write_private(home.path / "node_id", f"{made.node_id}\n".encode())
    enrolment.save(home, made)
    return made


async def join_again(home: Home, url: str, ca_pem: str | None, known: Enrolment) -> Enrolment:
    """Enrol a home once more with the control plane that it belongs to, by its own key: at a further address, or after
    the authority was made anew.

    Raises ``Conflict`` when another control plane answers, ``NotSignedIn`` when it does not know this machine, which
    then needs a new access key, ``NotAllowed`` when the machine was disabled.
    """
    signer = signer_of(known, NodeKey.of_home(home))
    try:
        return await join(home, url, ca_pem, signer, known.name, destination=known.control_plane_id)
    except Untrusted:  # its authority is the expected one: what differs is the name
        raise Conflict(
            f"this home belongs to the control plane {known.control_plane_id}, and {url} is another one; give another"
            f" home with --home, or delete {home.enrolment_file} to leave the former. Nothing was changed"
        ) from None
    except NotSignedIn as error:
        raise NotSignedIn(
            f"{error.message}; if the control plane does not know this machine any more, make a key for it there with"
            " mosaicfs credentials create NAME --kind agent, and give it here with --access-key-id"
        ) from None


async def renew(home: Home, known: Enrolment, requests: Requests) -> bool:
    """Get a new certificate for this node's listener when the present one ends soon; whether that was so.

    ``requests`` goes to the control plane, signed by the node.
    """
    own = ServerCertificate(home)
    if own.is_good(certificates.load(known.ca_pem), [known.node_id], now=utc_now()):
        return False
    body = {
        "name": known.name,
        "public_key": NodeKey.of_home(home).public,
        "csr": certificates.make_request(own.key()),
    }
    _install(own, (await _register(requests, body)).certificate, known)
    return True


def signer_of(known: Enrolment, key: NodeKey) -> NodeSigner:
    """Who signs this node's requests to its control plane."""
    return NodeSigner(known.node_id, key, {known.control_plane_id: known.control_plane_key}.get)


async def _answering(requests: Requests) -> _Answering:
    async with requests.request("GET", "/api/auth/whoami", timeout=ANSWER_SECONDS) as answer:
        await raise_for_error(answer)
        return _decoded(await answer.read(), _Answering)


async def _register_known(
    asking: SignedRequests, body: Mapping[str, Any], key: NodeKey, answering: _Answering, ca_pem: str | None
) -> _Answer:
    """Register; a machine that turns out to be known proves itself with its own key, and the access key that it came
    with stays free. Such a machine lost its ``enrolment.json``, or what it was told before it could be written."""
    try:
        return await _register(asking, body)
    except Conflict as error:
        known_as, plane, public = error.details.get("known_as"), answering.control_plane_id, answering.control_plane_key
        if known_as is None or plane is None or public is None:
            raise
    signer = NodeSigner(known_as, key, {plane: public}.get)
    as_node = SignedRequests(asking.base_url, plane, signer, ca_pem)
    try:
        return await _register(as_node, {**body, "node_id": known_as})
    finally:
        await as_node.close()


async def _register(requests: Requests, body: Mapping[str, Any]) -> _Answer:
    headers = {"Content-Type": "application/json"}
    sent = json.dumps(body).encode()
    async with requests.request("POST", "/api/nodes", body=sent, headers=headers, timeout=ANSWER_SECONDS) as answer:
        await raise_for_error(answer)
        return _decoded(await answer.read(), _Answer)


def _decoded(data: bytes, wanted: type[_Told]) -> _Told:
    try:
        return msgspec.json.decode(data, type=wanted)
    except msgspec.DecodeError as error:
        raise UserError(f"what answers there is no control plane: {error}") from None


def _refuse_another_instance(home: Home, url: str, control_plane_id: str | None) -> None:
    """Raise ``Conflict`` where the home belongs to another control plane than the one that answers."""
    known = enrolment.load(home)
    if known is not None and control_plane_id is not None and known.control_plane_id != control_plane_id:
        raise Conflict(
            f"this home belongs to the control plane {known.control_plane_id}, and {url} is {control_plane_id};"
            f" give another home with --home, or delete {home.enrolment_file} to leave the former. Nothing was changed"
        )


def _enrolment(home: Home, url: str, answer: _Answer) -> Enrolment:
    _refuse_another_instance(home, url, answer.control_plane_id)
    known = enrolment.load(home)
    urls = (url, *(one for one in (known.urls if known else ()) if one != url))
    return Enrolment(
        urls=urls,
        node_id=answer.node_id,
        name=answer.name,
        control_plane_id=answer.control_plane_id,
        control_plane_key=answer.control_plane_key,
        ca_pem=answer.ca,
        access_key_id=answer.access_key_id,
        place=presence.place_of(home),
    )


def _install(own: ServerCertificate, certificate: str | None, known: Enrolment) -> None:
    authority = certificates.load(known.ca_pem)
    if certificate is None:
        raise UserError("the control plane gave no certificate")
    made = certificates.load(certificate)
    if not certificates.issued_by(made, authority) or known.node_id not in certificates.names_of(made):
        raise NotAllowed("the control plane gave a certificate that is not its authority's, or is for another node")
    own.install(certificate, known.ca_pem)


def _wish(home: Home) -> dict[str, str]:
    """The id that this home has had so far, if any: files that it has indexed are known under it."""
    file = home.path / "node_id"
    return {"node_id": file.read_text("utf-8").strip()} if file.exists() else {}


def _same_authority(one: str, other: str) -> bool:
    return certificates.fingerprint(certificates.load(one)) == certificates.fingerprint(certificates.load(other))
