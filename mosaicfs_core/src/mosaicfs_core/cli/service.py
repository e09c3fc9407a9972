"""Files that let the system start the agent: a systemd unit on Linux, a launchd property list on macOS."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

UNIT: Final = "mosaicfs-agent.service"
LABEL: Final = "io.mosaicfs.agent"


class Service(NamedTuple):
    """A file for the system's service manager, where it belongs, and the command that starts it from now on."""

    path: Path
    text: str
    start: str


def program() -> tuple[str, ...]:
    """How this very installation of MosaicFS is started."""
    beside = Path(sys.executable).parent / "mosaicfs"
    found = str(beside) if beside.exists() else shutil.which("mosaicfs")
    return (found,) if found else (sys.executable, "-m", "mosaicfs_core.cli.main")


def agent_service(home: Path, platform: str = sys.platform, *, root: bool | None = None) -> Service:
    """The service that runs the agent of a home: of this user, or of the system when we are root."""
    command = (*program(), "agent", "run", "--home", str(home))
    of_system = os.geteuid() == 0 if root is None else root
    if platform == "darwin":
        folder = Path("/Library/LaunchDaemons") if of_system else Path("~/Library/LaunchAgents").expanduser()
        path = folder / f"{LABEL}.plist"
        return Service(path, launchd_plist(command, home), f"launchctl load -w {path}")
    folder = Path("/etc/systemd/system") if of_system else Path("~/.config/systemd/user").expanduser()
    user = "" if of_system else " --user"
    start = f"systemctl{user} daemon-reload && systemctl{user} enable --now {UNIT}"
    if not of_system:
        start += " && loginctl enable-linger"
    return Service(folder / UNIT, systemd_unit(command, of_system=of_system), start)


def systemd_unit(command: Sequence[str], *, of_system: bool) -> str:
    """A systemd unit. It may be stopped and started at any time; a SIGTERM ends it cleanly."""
    target = "multi-user.target" if of_system else "default.target"
    # What only the system's manager knows: a user's own has no network target.
    words = command if _is_plain(command[0]) else ("/usr/bin/env", *command)
    network = "Wants=network-online.target\nAfter=network-online.target\n" if of_system else ""
    return (
        "[Unit]\n"
        "Description=MosaicFS agent\n"
        f"{network}"
        "\n"
        "[Service]\n"
        "Type=simple\n"
        f"ExecStart={' '.join(map(_systemd_word, words))}\n"
        "Restart=on-failure\n"
        "RestartSec=5\n"
        "TimeoutStopSec=30\n"
        "UMask=0077\n"
        "Nice=5\n"
        "\n"
        "[Install]\n"
        f"WantedBy={target}\n"
    )


def launchd_plist(command: Sequence[str], home: Path) -> str:
    """A launchd property list: started at login, and again when it fails."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ProcessType": "Background",
            "Umask": 0o077,
            "StandardErrorPath": str(home / "logs" / "launchd.log"),
        }
    ).decode()


def install(service: Service) -> None:
    """Write the file. It holds no secret: everyone may read it."""
    service.path.parent.mkdir(parents=True, exist_ok=True)
    service.path.write_text(service.text, "utf-8")
    service.path.chmod(0o644)


_is_plain = re.compile(r"[A-Za-z0-9/._+@ -]+").fullmatch
"""Whether systemd takes a word as the path of a program; others it takes as arguments alone."""


def _systemd_word(word: str) -> str:
    """One word of a command line as systemd reads it: quoted, with its own special characters doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or any(one.isspace() or one in "';" for one in word) else word
