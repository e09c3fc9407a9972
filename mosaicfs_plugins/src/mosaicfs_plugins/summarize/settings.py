"""The settings of an instance: their schema for people and forms, and their values as a struct. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mosaicfs_core.hooks import UserError

_MEGA: Final = 1 << 20
_END: Final = r"$(?!\n)"
"""The end of a text; before a newline that ends it is none, as it would be in Python otherwise."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance was told. Sizes in the units of their names; ``languages`` empty means any; without ``endpoint``
    nothing leaves the machine."""

    max_sentences: int = 5
    max_keywords: int = 8
    languages: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endpoint: str = ""
    model: str = ""
    api_key: str = ""
    keep_local: tuple[str, ...] = ()
    max_prompt_characters: int = 24_000
    max_answer_tokens: int = 600
    max_requests_per_day: int = 200
    request_seconds: int = 25
    max_file_mb: int = 64
    max_seconds: int = 30
    memory_mb: int = 1024

    @property
    def max_file_bytes(self) -> int:
        """The largest document that is read."""
        return self.max_file_mb * _MEGA


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings in an instance's ``config``; what is not ours in it is left alone.

    Raises ``UserError``: a program's settings are not checked by the host, and an endpoint alone is half a setting.
    """
    try:
        settings = msgspec.convert(dict(config), Settings)
    except msgspec.ValidationError as error:
        raise UserError(f"the settings cannot be used: {error}") from None
    if settings.endpoint and not settings.model:
        raise UserError("model: an endpoint needs the name of the model to ask", field="model")
    return settings


def _whole(title: str, default: int, least: int, most: int, description: str) -> dict[str, Any]:
    bounds = {"minimum": least, "maximum": most, "default": default}
    return {"type": "integer", "title": title, "description": description, **bounds}


def _globs(title: str, description: str) -> dict[str, Any]:
    items = {"type": "string", "minLength": 1}
    return {"type": "array", "items": items, "default": [], "title": title, "description": description}


SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "max_sentences": _whole("Sentences", 5, 1, 20, "How long a summary may be."),
        "max_keywords": _whole("Keywords", 8, 0, 30, "How many keywords a document gets at most."),
        "languages": {
            "type": "array",
            "items": {"type": "string", "pattern": f"^[a-z]{{2}}{_END}", "description": "Two letters, as in en or de."},
            "uniqueItems": True,
            "default": [],
            "title": "Languages",
            "description": "The languages of your documents (en, de, …); no other is recognized. Empty: any.",
        },
        "exclude": _globs(
            "Leave out", "Files that are not summarized: names (*.log) or, with a slash, paths (/home/me/diary/*)."
        ),
        "endpoint": {
            "type": "string",
            "pattern": f"^(https?://[^/].*)?{_END}",
            "default": "",
            "title": "Address of a language model",
            "description": (
                "An http or https address that speaks OpenAI's protocol, up to and including /v1. Documents are sent "
                "there. Empty: summaries are made on this machine alone."
            ),
        },
        "model": {
            "type": "string",
            "default": "",
            "title": "Model",
            "description": "The name of the model to ask there. It stands in every summary that it has written.",
        },
        "api_key": {"type": "secret", "title": "Key", "description": "The key for that address, where it wants one."},
        "keep_local": _globs("Never send", "Files that are summarized on this machine in any case, as for Leave out."),
        "max_prompt_characters": _whole(
            "Text per request (characters)", 24_000, 500, 2_000_000, "How much of a document is sent; the rest is cut."
        ),
        "max_answer_tokens": _whole(
            "Longest answer (tokens)",
            600,
            0,
            100_000,
            "Sent as max_tokens. 0 leaves it out: some models refuse it.",
        ),
        "max_requests_per_day": _whole(
            "Requests per day", 200, 0, 1_000_000, "What comes beyond that is summarized on this machine. 0: no limit."
        ),
        "request_seconds": _whole("Time per request (s)", 25, 1, 3600, "How long the model may take for one answer."),
        "max_file_mb": _whole("Largest document (MB)", 64, 1, 4096, "Larger ones are not read."),
        "max_seconds": _whole("Time per document (s)", 30, 1, 3600, "How long reading one document may take."),
        "memory_mb": _whole("Memory per document (MB)", 1024, 256, 65_536, "Documents that need more are given up."),
    },
}
