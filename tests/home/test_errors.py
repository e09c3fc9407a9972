from __future__ import annotations

import json

import pytest

from mosaicfs_core.errors import ClockSkew, MosaicError, NotFound, PluginError, Unavailable, UserError, error_told
from mosaicfs_core.security.answers import error_of


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not_found", NotFound),
        ("clock_skew", ClockSkew),
        ("invalid_document", UserError),
        ("plugin_failed", PluginError),
        ("a stranger's", Unavailable),
    ],
)
def test_an_error_that_was_told_is_of_the_class_that_its_code_names(code: str, kind: type[MosaicError]) -> None:
    error = error_told(code, "a message", {"field": "f"}, otherwise=Unavailable)
    assert type(error) is kind
    assert (error.code, error.message, error.details["field"]) == (code, "a message", "f")


def test_a_message_is_what_every_encoder_takes() -> None:
    error = NotFound("/caf\udce9.txt is gone")
    assert error.message == str(error) == "/caf\\udce9.txt is gone"
    assert NotFound("/café.txt is gone").message == "/café.txt is gone"


def test_what_is_told_beside_the_message_goes_where_the_class_has_it() -> None:
    failed = error_told("plugin_failed", "it failed", {"plugin": "p", "hook": "h"})
    assert isinstance(failed, PluginError)
    assert (failed.plugin, failed.hook, failed.details) == ("p", "h", {"plugin": "p", "hook": "h"})
    busy = error_told("unavailable", "busy", retry_after=7.0)
    assert isinstance(busy, Unavailable)
    assert busy.retry_after == 7.0


def test_no_name_among_the_details_is_in_the_way() -> None:
    details = {"message": "m", "self": 1, "retry_after": 3}
    body = json.dumps({"error": {"code": "unavailable", "message": "busy", "details": details}})
    error = error_of(503, "", "9", body.encode())
    assert isinstance(error, Unavailable)
    assert (error.message, error.retry_after, error.details) == ("busy", 9.0, details)
