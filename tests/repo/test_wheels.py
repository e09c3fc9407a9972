"""Each distribution builds a wheel that plain pip installs by itself, carrying its entry points and typing marker."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = {
    "mosaicfs_core": "mosaicfs_core",
    "vfs": "mosaicfs_vfs",
    "mosaicfs_plugins": "mosaicfs_plugins",
    "mosaicfs_fulltext": "mosaicfs_fulltext",
    "mosaicfs_bridge_email": "mosaicfs_bridge_email",
}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_wheel_installs_singly(member: str, tmp_path: Path) -> None:
    wheels, target = tmp_path / "wheels", tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    # Dependencies and the build backend are this environment's: the test must not reach for the network.
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT / member)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = wheels.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package = MEMBERS[member]
    assert f"{package}/py.typed" in names
    assert not [name for name in names if name.startswith("tests/")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(target)!r}); import {package} as p; print(p.__file__)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith(str(target))
