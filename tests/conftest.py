"""Shared by all areas: the conformance kit's fixtures, as any plugin author gets them, and Node.js packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import platformdirs
import pytest

pytest_plugins = ["mosaicfs_core.testing"]

# A package of its own, whose tests run where it is installed (plugins_host/test_third_party.py).
collect_ignore = ["third_party_example"]


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
