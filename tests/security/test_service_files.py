"""The files that have the system start an agent: a unit of systemd, a property list of launchd."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path

from mosaicfs_core.cli import service


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    program = tmp_path / 'a "b" 100% $HOME\\x' / "mosaicfs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = service.systemd_unit((str(program), "agent", "run", "--home", "/a b"), of_system=True)
    assert '"/a b"' in text
    assert "100%% $$HOME" in text
    verify = shutil.which("systemd-analyze")
    if verify:
        unit = tmp_path / service.UNIT
        unit.write_text(text)
        ran = subprocess.run([verify, "verify", str(unit)], capture_output=True, text=True, check=False)
        assert str(unit) not in ran.stderr, ran.stderr


def test_the_property_list_is_one(tmp_path: Path) -> None:
    made = service.agent_service(tmp_path / "a <b>", "darwin", root=False)
    told = plistlib.loads(made.text.encode())
    assert told["ProgramArguments"][-1] == str(tmp_path / "a <b>")
    assert made.path.parent.name == "LaunchAgents"
    linux = service.agent_service(tmp_path, "linux", root=False)
    assert linux.path.parts[-4:-1] == (".config", "systemd", "user")
    assert "--user" in linux.start
