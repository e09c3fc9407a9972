"""The REST client of the command line: finds the instance, proves who asks, and turns error answers into errors.

It stands on ``http.client`` (a third of the start-up time of any other client) and blocks, as a command does. The
instance is, in this order: ``MOSAICFS_URL``, ``url`` in ``~/.config/mosaicfs/cli.toml``, the running instance of the
home, whose address and token lie in its ``run`` directory. Elsewhere than at home every request is signed with an
access key: ``MOSAICFS_ACCESS_KEY_ID`` and ``MOSAICFS_SECRET_KEY``, or ``access_key_id`` and ``secret_key`` in
``cli.toml``, which must then be readable by its owner alone; a secret that is nowhere is asked for on the terminal. The
secret itself never leaves this process.

Which authority the instance's certificate must be of: ``ca_file``, ``ca_fingerprint`` (``MOSAICFS_CA_FILE``,
``MOSAICFS_CA_FINGERPRINT``), what the home knows of an instance that it belongs to, or those that the system trusts.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from mosaicfs_core.errors import ConfigError, MosaicError, NotAllowed, Unavailable, UserError
from mosaicfs_core.home import Home
from mosaicfs_core.security.addresses import is_loopback
from mosaicfs_core.security.answers import error_of

if TYPE_CHECKING:
    import ssl

_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 300.0
_CHUNK: Final = 1 << 20

Credentials = tuple[str, str | None]
"""An access key id and its secret; None: ask for it."""


class Unreachable(Unavailable):
    """Nothing answers at the address: the instance does not run, or the network is in the way."""

    code = "unreachable"


class NotRunning(Unreachable):
    """No instance runs with a home of this machine."""


class NotReady(Unreachable):
    """The instance of this home starts, and waits for something."""


class Endpoint(NamedTuple):
    """Where the API is and how to be known there: a bearer ``token``, or an access key to sign with. Which authority is
    trusted: that of ``ca_file``, the one with ``ca_fingerprint``, or ``ca_pem``."""

    url: str
    token: str | None = None
    credentials: Credentials | None = None
    ca_file: str | None = None
    ca_fingerprint: str | None = None
    ca_pem: str | None = None
    others: str | None = None  # how other machines reach an instance of this machine
    home: Path | None = None  # of an instance on this machine, found by what it wrote there


def find_endpoint(home: Home, environ: Mapping[str, str] | None = None) -> Endpoint:
    """The instance this command talks to. Raises ``Unreachable`` when none is configured and none runs here."""
    environment = os.environ if environ is None else environ
    configured = _read_cli_config(environment)
    url = environment.get("MOSAICFS_URL") or configured.get("url")
    if url:
        key = environment.get("MOSAICFS_ACCESS_KEY_ID") or configured.get("access_key_id")
        secret = environment.get("MOSAICFS_SECRET_KEY") or configured.get("secret_key")
        credentials = (key, secret) if key else None
        local = _local_endpoint(home)
        here = local if local and local.url.rstrip("/") == url.rstrip("/") else None
        return Endpoint(
            url,
            here.token if here and not credentials else None,
            credentials,
            environment.get("MOSAICFS_CA_FILE") or configured.get("ca_file"),
            environment.get("MOSAICFS_CA_FINGERPRINT") or configured.get("ca_fingerprint"),
            here.ca_pem if here else _known_authority(home, url),
        )
    local = _local_endpoint(home)
    if local is None:
        raise _not_running(home)
    return local._replace(home=home.path)


class HttpApi:
    """``mosaicfs_core.hooks.Api`` over one kept-alive connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._signing_key: bytes | None = None
        self._connection: http.client.HTTPConnection | None = None

    @property
    def url(self) -> str:
        """Where the instance is."""
        return self._endpoint.url

    @property
    def url_for_others(self) -> str | None:
        """Where other machines reach the instance; None for one that listens on this machine alone. An address that was
        given is as good there as here."""
        return self._endpoint.url if self._endpoint.home is None else self._endpoint.others

    @property
    def ca_pem(self) -> str | None:
        """The instance's authority, as far as it was found with it."""
        return self._endpoint.ca_pem

    def get(self, path: str, /, **params: Any) -> Any:
        """GET; decoded JSON."""
        return self.send("GET", path, **params)

    def get_with_etag(self, path: str, /, **params: Any) -> tuple[Any, str | None]:
        """GET; decoded JSON, and the answer's entity tag."""
        answer = self._request("GET", path, None, params)
        return self._decoded(answer, path), answer.headers.get("ETag")

    def send(self, method: str, path: str, /, body: Any = None, *, if_match: str | None = None, **params: Any) -> Any:
        """Any method with a JSON body; decoded JSON, None for an empty answer. Raises a ``MosaicError``: ``Stale`` when
        ``if_match`` is the entity tag of another version than the present one."""
        return self._decoded(self._request(method, path, body, params, if_match), path)

    def _decoded(self, answer: http.client.HTTPResponse, path: str) -> Any:
        data = answer.read()
        if answer.status >= 400:
            raise _error_of(answer, data)
        if not data:
            return None
        try:
            return json.loads(data)
        except ValueError:
            raise MosaicError(f"{self._endpoint.url} answered {path} with something that is not JSON") from None

    def download(
        self, path: str, /, target: Path, progress: Callable[[int, int], None] | None = None, **params: Any
    ) -> int:
        """Stream an answer into ``target``, which is replaced only once everything arrived; returns its size.

        ``progress`` is called with the bytes received and the total (0 when unknown).
        """
        answer = self._request("GET", path, None, params)
        if answer.status >= 400:
            raise _error_of(answer, answer.read())
        total = int(answer.headers.get("Content-Length") or 0)
        descriptor, temporary = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name[:200]}.")
        received = 0
        try:
            with os.fdopen(descriptor, "wb") as file:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    received += len(chunk)
                    if progress is not None:
                        progress(received, total)
            if received < total:
                raise Unreachable(f"the connection ended after {received:,} of {total:,} bytes")
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return received

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(
        self, method: str, path: str, body: Any, params: Mapping[str, Any], if_match: str | None = None
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json"}
        if if_match is not None:
            headers["If-Match"] = if_match
        if self._endpoint.token is not None:
            headers["Authorization"] = f"Bearer {self._endpoint.token}"
        payload = None if body is None else json.dumps(body).encode()
        if payload is not None:
            headers["Content-Type"] = "application/json"
        return self._exchange(method, _target(path, params), payload, headers)

    def _signature(self, method: str, target: str, payload: bytes | None) -> dict[str, str]:
        """The header that proves who asks, made anew for each attempt."""
        if self._endpoint.credentials is None:
            return {}
        from mosaicfs_core.security import signatures, user_keys

        key_id, secret = self._endpoint.credentials
        if self._signing_key is None:
            from mosaicfs_core.cli.secrets import ask_secret

            self._signing_key = user_keys.derive_signing_key(key_id, secret or ask_secret(key_id))
        signed = signatures.Target(
            method=method,
            destination=signatures.CONTROL_PLANE,
            path=urlsplit(self._endpoint.url).path.rstrip("/") + target,
            body_sha256=signatures.sha256_of(payload),
        )
        return {"Authorization": signatures.authorization(self._signing_key, key_id, signed)}

    def _exchange(
        self, method: str, target: str, payload: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        reused = self._connection is not None
        try:
            connection = self._connect()
            given = {**headers, **self._signature(method, target, payload)}
            connection.request(method, urlsplit(self._endpoint.url).path.rstrip("/") + target, payload, given)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # The server may have closed an idle connection; what only reads can safely be asked again.
            if reused and method == "GET":
                return self._exchange(method, target, payload, headers)
            if isinstance(error, ConnectionRefusedError) and self._endpoint.home is not None:
                raise _not_running(Home(self._endpoint.home)) from error  # it was killed, and left its address behind
            raise Unreachable(f"{self._endpoint.url} cannot be reached: {_reason(error)}") from error

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            parts = urlsplit(self._endpoint.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise UserError(
                    f"{self._endpoint.url!r} is not the address of an instance; expected http(s)://host:port"
                )
            if parts.scheme == "https":
                made: http.client.HTTPConnection = http.client.HTTPSConnection(
                    parts.hostname, parts.port, timeout=_CONNECT_SECONDS, context=self._tls()
                )
            else:
                made = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_CONNECT_SECONDS)
            made.connect()
            self._require_private(made, parts.scheme)
            made.sock.settimeout(_ANSWER_SECONDS)
            self._connection = made
        return self._connection

    def _tls(self) -> ssl.SSLContext:
        """A context that trusts the instance's authority. Raises ``UserError`` when what should be trusted is damaged,
        ``NotAllowed`` when the instance shows another authority than the pinned one."""
        import ssl

        from mosaicfs_core.security.authority import client_context

        found = self._endpoint
        if found.ca_file is not None:
            try:
                return ssl.create_default_context(cafile=Path(found.ca_file).expanduser())
            except OSError as error:
                raise UserError(f"the authority in {found.ca_file} cannot be used: {error.strerror or error}") from None
        if found.ca_fingerprint is not None:
            from mosaicfs_core.security import certificates, pinning

            return client_context(certificates.pem_of(pinning.pinned_authority(found.url, found.ca_fingerprint)))
        return client_context(found.ca_pem)

    def _require_private(self, connection: http.client.HTTPConnection, scheme: str) -> None:
        """Raise ``UserError`` before a secret goes over a network in clear. The peer counts, not what it is called."""
        secret = self._endpoint.token or self._endpoint.credentials
        if scheme == "https" or not secret or is_loopback(connection.sock.getpeername()[0]):
            return
        connection.close()
        raise UserError(
            f"{self._endpoint.url} is another machine and not encrypted, so the access key would cross the network in"
            " clear; give an https:// address, or a tunnel to this machine's own"
        )


def _target(path: str, params: Mapping[str, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        several = value if isinstance(value, list | tuple) else [value]
        pairs.extend((name, _as_parameter(one)) for one in several if one is not None)
    target = "/api/" + quote(path.lstrip("/"), safe="/:@%~!$&'()*+,;=-._")
    return f"{target}?{urlencode(pairs, errors='surrogateescape')}" if pairs else target


def _as_parameter(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _error_of(answer: http.client.HTTPResponse, data: bytes) -> MosaicError:
    """The error that an answer of 400 or more stands for."""
    return error_of(answer.status, answer.reason, answer.headers.get("Retry-After"), data)


def start_command(home: Home) -> str:
    """What starts MosaicFS with this home."""
    return "mosaicfs agent run" if home.enrolment_file.exists() else "mosaicfs up"


def _not_running(home: Home) -> Unreachable:
    if (starting := home.starting()) is not None:
        pid, why = starting
        return NotReady(f"MosaicFS runs with the home {home.path} (process {pid}) and is not ready yet: {why}")
    return NotRunning(f"MosaicFS is not running with the home {home.path}; start it with: {start_command(home)}")


def health_of(api: HttpApi) -> dict[str, Any]:
    """The answer of ``health``, which comes with 503 when the instance does not work. Raises as ``get`` does when
    it is no such answer."""
    try:
        found: dict[str, Any] = api.get("health")
    except Unavailable as error:
        found = error.details.get("answer") or {}
        if "subsystems" not in found:
            raise
    return found


def _local_endpoint(home: Home) -> Endpoint | None:
    try:
        endpoint = json.loads(home.endpoint_file.read_text("utf-8"))
        url, ca_pem, others = str(endpoint["url"]), endpoint.get("ca"), endpoint.get("others")
        token = home.local_token_file.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise NotAllowed(f"{error.filename} belongs to another user; this home is not yours to command") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreachable(f"{home.endpoint_file} is damaged; restart MosaicFS to have it written anew") from None
    return Endpoint(url, token, ca_pem=ca_pem, others=others)


def _known_authority(home: Home, url: str) -> str | None:
    """The authority of the instance that this home belongs to, when the address is that instance's."""
    if not home.enrolment_file.exists():
        return None
    from mosaicfs_core.security import enrolment

    known = enrolment.load(home)
    return known.ca_pem if known and url.rstrip("/") in known.urls else None


def _read_cli_config(environment: Mapping[str, str]) -> dict[str, str]:
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    file = Path(base).expanduser() / "mosaicfs" / "cli.toml"
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    import tomllib

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: expected valid TOML: {error}") from None
    allowed = ("url", "access_key_id", "secret_key", "ca_file", "ca_fingerprint")
    for key, value in values.items():
        if key not in allowed or not isinstance(value, str):
            raise ConfigError(f"{file}, {key}: expected a text under one of {', '.join(allowed)}")
    if "secret_key" in values and file.stat().st_mode & 0o077:
        raise ConfigError(f"{file} holds a secret key and others can read it; run: chmod 600 {file}")
    return values


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "SSLCertVerificationError":
        told = getattr(error, "verify_message", "") or str(error)
        return (
            f"its certificate cannot be trusted ({told.rstrip('.')}); give its authority with MOSAICFS_CA_FINGERPRINT"
            " or ca_fingerprint in cli.toml, as `mosaicfs system fingerprint` shows it on the server"
        )
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
