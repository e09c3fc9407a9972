"""``up`` and an agent in the background, and their end."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mosaicfs_core import children, stuck
from mosaicfs_core.cli.secrets import SECRET_VARIABLE
from mosaicfs_core.errors import Conflict, Unavailable
from mosaicfs_core.home import Home

if TYPE_CHECKING:
    from mosaicfs_core.cli.commands.up import Options
    from mosaicfs_core.cli.frame_context import TerminalContext

STOP_SECONDS: Final = 30.0


def start(context: TerminalContext, options: Options) -> None:
    """Start ``up`` as a process of its own, wait until it is ready, and show what it says.

    What it prints later goes to ``logs/up.log``. Raises its own error when it does not get ready.
    """
    from mosaicfs_core.cli.commands.up import login_line
    from mosaicfs_core.cli.crawl_progress import Indexed, tell

    home = context.home.prepare()
    facts = _started(home, "mosaicfs up", ["up", *_arguments(options)], home.log_dir / "up.log")
    if context.json:
        context.show(facts)
        return
    tell(context, Indexed(facts["indexed"], facts["problems"]))
    context.say(f"Mounted   {facts['mount'] or 'nowhere: ' + str(facts['mount_problem'] or 'not asked for')}")
    context.say(f"API       {facts['url']}/api/docs")
    context.show(login_line(facts["login_link"], facts["login_problem"]))
    context.say(_running(home, facts))


def start_agent(context: TerminalContext) -> int:
    """Start the agent of an enrolled home as a process of its own, wait until it is ready, and say how it is
    ended; its pid.

    What it prints later goes to ``logs/agent.log``. Raises its own error when it does not get ready.
    """
    home = context.home
    # Whoever can read the environment of a process can do so as long as it runs, and it needs no access key.
    os.environ.pop(SECRET_VARIABLE, None)
    facts = _started(home, "mosaicfs agent run", ["agent", "run"], home.log_dir / "agent.log")
    context.say(_running(home, facts))
    return int(facts["pid"])


def stop(home: Home) -> int | None:
    """End the process that holds the home and wait for it; its pid, None when none runs. Raises ``Unavailable``."""
    pid = holder(home)
    if pid is None:
        return None
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while holder(home) == pid:
        if time.monotonic() > deadline:
            hint = stuck.hint(home.log_dir, "mosaicfs")
            raise Unavailable(
                f"process {pid} did not end within {STOP_SECONDS:g} s{hint}; `kill -9 {pid}` ends it by force, and "
                "nothing is lost by that"
            )
        time.sleep(0.05)
    return pid


def holder(home: Home) -> int | None:
    """The pid of the process that holds the home's lock, None when it is free."""
    try:
        descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        if not text.isdigit():
            raise Conflict(f"the home {home.path} is in use by an unknown process") from None
        return int(text)
    finally:
        os.close(descriptor)
    return None


def _started(home: Home, what: str, words: list[str], log: Path) -> dict[str, Any]:
    """What a program says that was started in the background, once it is ready, and its ``pid``."""
    log.parent.mkdir(mode=0o700, exist_ok=True)
    child, facts = children.start(what, children.command(home.path, *words), log=log)
    # The process goes on without us: it is not ours to wait for.
    child.returncode = 0
    return {**facts, "pid": child.pid}


def _running(home: Home, facts: dict[str, Any]) -> str:
    return f"It runs as process {facts['pid']}; `mosaicfs down` stops it, its log is in {home.log_dir}"


def _arguments(options: Options) -> list[str]:
    given: list[str] = []
    if options.mount is not None:
        given += ["--mount", str(options.mount.absolute())]
    if options.port is not None:
        given += ["--port", str(options.port)]
    given += [flag for flag, wanted in (("--no-mount", options.no_mount), ("--safe-mode", options.safe_mode)) if wanted]
    return [*given, "--", *options.paths]
