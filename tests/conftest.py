"""Shared by all areas: the conformance kit, as any plugin author gets it, Node.js packages, no unforeseen warnings."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path

import platformdirs
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


def installed_packages(folder: Path) -> Path:
    """The ``node_modules`` with what ``package.json`` in ``folder`` names, installed into a cache once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js with npm is not installed")
    wanted = (folder / "package.json").read_bytes()
    default = platformdirs.user_cache_dir("mosaicfs-tests")
    cache = Path(os.environ.get("MOSAICFS_TEST_CACHE", default)) / f"npm-{md5(wanted).hexdigest()[:8]}"
    if not (cache / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "package.json").write_bytes(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install its packages: {done.stderr[-300:]}")
        (cache / "complete").touch()
    return cache / "node_modules"


@pytest.fixture(scope="session")
def node_packages() -> Callable[[Path], Path]:
    """``installed_packages``: give it a folder with a ``package.json``."""
    return installed_packages
