"""What aiocouch raises as errors of ours that say what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiocouch
import aiohttp

from mosaicfs_core.hooks import MosaicError, NotAllowed, NotFound, NotSignedIn, Stale, Unavailable, UserError


@contextmanager
def translated(where: str, user: str) -> Iterator[None]:
    """Raise errors of ours for those of a request to ``where`` (an address without password), signed in as ``user``."""
    try:
        yield
    except MosaicError:
        raise
    except aiocouch.UnauthorizedError as error:
        raise NotSignedIn(f"{where} does not accept {_who(user)}: {_said(error)}") from error
    except aiocouch.ForbiddenError as error:
        raise NotAllowed(f"{where} does not allow it to {_who(user)}: {_said(error)}") from error
    except aiocouch.NotFoundError as error:
        raise NotFound(f"{where}: {_said(error)}") from error
    except aiocouch.ConflictError as error:
        raise Stale(f"{where}: {_said(error)}") from error
    except (aiocouch.BadRequestError, aiocouch.PreconditionFailedError) as error:
        raise UserError(f"{where}: {_said(error)}") from error
    except aiohttp.ClientResponseError as error:
        raise Unavailable(
            f"{where} answered {error.status}: {getattr(error, 'reason', None) or error.message}"
        ) from error
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
        raise Unavailable(
            f"{where} cannot be trusted: {_said(error)}. If its certificate is of an authority of your own, name that"
            " in hub.ca_file"
        ) from error
    except TimeoutError as error:
        raise Unavailable(f"{where} did not answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{where} cannot be reached: {_said(error)}") from error
    except ValueError as error:  # aiocouch's own, for an answer that it did not expect
        raise Unavailable(f"{where} answered what was not expected: {_said(error)}") from error


def _who(user: str) -> str:
    return f"user {user}" if user else "somebody who does not sign in (hub.user is not set)"


def _said(error: Exception) -> str:
    # KeyError shows its message quoted.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
