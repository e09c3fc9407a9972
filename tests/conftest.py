"""Shared by all areas: the conformance kit's fixtures, as any plugin author gets them, and no unforeseen warnings."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

pytest_plugins = ["mosaicfs_core.testing"]

# A package of its own, whose tests run where it is installed (plugins_host/test_third_party.py).
collect_ignore = ["third_party_example"]


@pytest.fixture(autouse=True)
def _no_surprises(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail on a log record of level WARNING or above that the test did not announce with ``@pytest.mark.logs(REGEX)``:
    an error that was swallowed and logged must not hide in a test that passes."""
    yield
    expected = [re.compile(pattern) for marker in request.node.iter_markers("logs") for pattern in marker.args]
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    surprises = [
        f"{record.name}: {record.getMessage()}"
        for record in records
        if record.levelno >= logging.WARNING and not any(pattern.search(record.getMessage()) for pattern in expected)
    ]
    if surprises:
        pytest.fail("logged and not expected:\n" + "\n".join(surprises), pytrace=False)
