"""The error tree of MosaicFS.

* ``MosaicError`` - everything this project raises on purpose

  * ``UserError`` - what the caller gave is wrong; the message says what and how to mend it

    * ``InvalidDocument`` - a document fails its schema; ``field`` names the place
    * ``ConfigError`` - a configuration value is wrong; names file, line, key and what was expected
    * ``NotAllowed`` - the caller is known but may not do this
    * ``NotSignedIn`` - the caller is unknown

      * ``ClockSkew`` - the clocks of the two sides are too far apart for a signature to be believed

  * ``NotFound`` - what was asked for does not exist
  * ``Conflict`` - it exists already, or changed meanwhile

    * ``Stale`` - a write named an old version (``If-Match``, ``_rev``)

  * ``PluginError`` - a plugin failed; ``plugin`` and ``hook`` say where
  * ``Unavailable`` - cannot be done now; ``retry_after`` seconds may help
  * ``NoRoom`` - the bytes do not fit where they should be kept; ``missing`` says how many, where that is known

Feature code raises these; only the edges (REST, mount, command line) turn them into a status, an errno or
an exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class MosaicError(Exception):
    """Base of every error raised on purpose. ``code`` is the stable machine-readable name of the kind, ``message`` is
    for people, and for whatever shows or stores it: any encoder takes it."""

    code = "error"

    def __init__(self, message: object, **details: Any) -> None:
        # Of a plugin: it may be raised with another error, or with whatever a stranger took for a text.
        self.message = readable(str(message))
        super().__init__(self.message)
        self.details = details


def readable(text: str) -> str:
    """A text with what UTF-8 cannot hold written as escapes: messages name paths, and paths need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


class UserError(MosaicError):
    """The caller's input is wrong; the message names the field and what was expected."""

    code = "invalid"


class InvalidDocument(UserError):
    """A document fails its schema. ``field`` is a dotted path such as ``source.export_path``."""

    code = "invalid_document"

    def __init__(self, message: str, field: str = "", **details: Any) -> None:
        super().__init__(message, field=field, **details)
        self.field = field


class ConfigError(UserError):
    """A configuration value is wrong; the message names file, line, key and what was expected."""

    code = "invalid_configuration"


class NotSignedIn(UserError):
    """No credentials, or credentials that do not hold."""

    code = "not_signed_in"


class ClockSkew(NotSignedIn):
    """A signature's time is too far from ours. ``skew_s`` in the details: how far the signer's clock is ahead."""

    code = "clock_skew"


class NotAllowed(UserError):
    """The caller is known but may not do this."""

    code = "not_allowed"


class NotFound(MosaicError):
    """What was asked for does not exist."""

    code = "not_found"


class Conflict(MosaicError):
    """It exists already, or the state does not permit the change."""

    code = "conflict"


class Stale(Conflict):
    """A write named a version that is no longer the current one."""

    code = "stale"


class PluginError(MosaicError):
    """A plugin failed. The cause is chained as ``__cause__`` where there is one. The detail ``lasting`` says that it is
    off from then on in the process where it failed."""

    code = "plugin_failed"

    def __init__(self, message: str, plugin: str, hook: str, **details: Any) -> None:
        super().__init__(message, plugin=plugin, hook=hook, **details)
        self.plugin = plugin
        self.hook = hook

    @property
    def unavailable(self) -> bool:
        """Whether the plugin raised ``Unavailable``: what it needs is not there at present, which is no fault of what
        it was given."""
        return bool(self.details.get("unavailable"))


class Unavailable(MosaicError):
    """Cannot be done at present. ``retry_after`` is a number of seconds, or None when unknown."""

    code = "unavailable"

    def __init__(self, message: str, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class NoRoom(MosaicError):
    """Bytes cannot be kept: the cache is full of what may not go, or its disk is full or fails. ``missing`` is how many
    bytes there are too few, or None when unknown."""

    code = "no_room"

    def __init__(self, message: str, missing: int | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.missing = missing


_BY_CODE: Final[Mapping[str, type[MosaicError]]] = {
    # ``NoRoom`` is not among them: it is about this machine's own disk.
    kind.code: kind
    for kind in (UserError, ConfigError, NotSignedIn, ClockSkew, NotAllowed, NotFound, Conflict, Stale, Unavailable)
} | {InvalidDocument.code: UserError}


def error_told(
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    *,
    retry_after: float | None = None,
    otherwise: type[MosaicError] = MosaicError,
) -> MosaicError:
    """The error that another party tells of, as the class that its code names, ``otherwise`` for codes of no class of
    ours; it keeps its code. ``retry_after`` is in seconds and for ``Unavailable``."""
    known = dict(details or {})
    error: MosaicError
    if code == PluginError.code:
        error = PluginError(message, str(known.pop("plugin", "")), str(known.pop("hook", "")))
    else:
        error = _BY_CODE.get(code, otherwise)(message)
    if isinstance(error, Unavailable):
        error.retry_after = retry_after
    error.details |= known
    error.code = code
    return error
