"""Node.js packages, installed once for tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import md5
from pathlib import Path

import platformdirs


class NotInstalled(Exception):
    """They cannot be had here; the message says why."""


def installed_packages(folder: Path) -> Path:
    """The ``node_modules`` with what ``package.json`` in ``folder`` names, installed into a cache once. Raises
    ``NotInstalled``."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalled("Node.js with npm is not installed")
    wanted = (folder / "package.json").read_bytes()
    default = platformdirs.user_cache_dir("mosaicfs-tests")
    cache = Path(os.environ.get("MOSAICFS_TEST_CACHE", default)) / f"npm-{md5(wanted).hexdigest()[:8]}"
    if not (cache / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "package.json").write_bytes(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalled(f"npm could not install its packages: {done.stderr[-300:]}")
        (cache / "complete").touch()
    return cache / "node_modules"
