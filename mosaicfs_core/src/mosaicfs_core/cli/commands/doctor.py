"""``mosaicfs doctor``: checks this machine and the running instance, and says how to mend what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from mosaicfs_core.cli.commands.failed_jobs import failed_jobs

if TYPE_CHECKING:
    from mosaicfs_core.cli.doctor_checks import Finding
    from mosaicfs_core.cli.frame_context import TerminalContext

_MARKS = {"ok": "ok", "warning": "!", "failed": "FAILED"}


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add ``doctor``."""

    @cli.command("doctor", short_help="Check this machine and say how to mend what is wrong.")
    def doctor() -> None:
        """Check this machine and say how to mend what is wrong. Exits with 1 when something has failed."""
        from mosaicfs_core.cli.doctor_checks import CHECKS

        findings = [check(context.home) for check in CHECKS]
        found = {finding.check for finding in findings if finding.status != "ok"}
        findings.extend(finding for finding in _instance_findings(context) if finding.check not in found)
        if context.json:
            context.show([finding._asdict() for finding in findings])
        else:
            rows = [
                {"check": one.check, "": _MARKS[one.status], "found": one.detail, "to mend it": one.mend}
                for one in findings
            ]
            context.show(rows, ["check", "", "found", "to mend it"])
        if any(finding.status == "failed" for finding in findings):
            raise click.exceptions.Exit(1)


def _instance_findings(context: TerminalContext) -> list[Finding]:
    """What the running instance says of itself."""
    from mosaicfs_core import stuck
    from mosaicfs_core.cli.client import NotReady, NotRunning, health_of, start_command
    from mosaicfs_core.cli.detach import holder
    from mosaicfs_core.cli.doctor_checks import Finding
    from mosaicfs_core.errors import MosaicError, Unavailable

    try:
        store = health_of(context.api)["subsystems"].get("store", {})
        if store.get("status") == "unhealthy":
            mend = f"see the check `store` above and {context.home.log_dir}, make room if the disk is full, restart"
            return [Finding("instance", "failed", "it runs and cannot use its replica", mend)]
        info = context.api.get("system/info")
        node = context.api.get(f"nodes/{info['node_id']}/status")
    except MosaicError as error:
        if error.code == "unreachable":
            if isinstance(error, NotReady):
                return [Finding("instance", "warning", error.message, "it goes on by itself, once that is there")]
            if isinstance(error, NotRunning):
                said = f"nothing runs with the home {context.home.path}"
                return [Finding("instance", "warning", said, f"start it: {start_command(context.home)}")]
            hint = stuck.hint(context.home.log_dir, "mosaicfs") if holder(context.home) else ""
            mend = f"the log says more: {context.home.log_dir}{hint}"
            return [Finding("instance", "failed", error.message, mend)]
        status: Literal["failed", "warning"] = "failed" if isinstance(error, Unavailable) else "warning"
        return [Finding("instance", status, error.message, f"the log says more: {context.home.log_dir}")]
    files = info["documents"].get("file", 0)
    detail = f"version {info['version']} runs and indexes {files:,} {'file' if files == 1 else 'files'}"
    found = [Finding("instance", "ok", detail)]
    for name, status in info["plugins"].items():
        if status == "failed":
            mend = "mosaicfs plugin list shows why; upgrade or uninstall it"
            found.append(Finding(f"plugin {name}", "failed", "cannot be loaded", mend))
    return found + part_findings(node, context)


def part_findings(node: dict[str, Any], context: TerminalContext) -> list[Finding]:
    """The parts of the agent that are not well, and the few files that plugins failed at, no reason to warn."""
    from mosaicfs_core.cli.doctor_checks import Finding
    from mosaicfs_core.security.enrolment import ENROL_AGAIN

    found = []
    for name, part in node.get("subsystems", {}).items():
        detail, failed = str(part.get("detail", "")), "; ".join(failed_jobs(node)) if name == "jobs" else ""
        if part.get("status") in ("degraded", "unhealthy"):
            said = detail.replace(f"; {ENROL_AGAIN}", "")
            found.append(Finding(name, "warning", said, failed or _mend(name, part, context)))
        elif failed:
            found.append(Finding(name, "ok", detail, failed))
        elif part.get("recovered"):
            found.append(Finding(name, "ok", part["recovered"]))
    return found


def _mend(name: str, part: dict[str, Any], context: TerminalContext) -> str:
    """What to do about a part of the agent that is not well."""
    from mosaicfs_core.security.enrolment import ENROL_AGAIN

    if ENROL_AGAIN in str(part.get("detail", "")):
        return (
            "it was made anew, or restored from an older copy: make a key there with `mosaicfs credentials create NAME"
            " --kind agent`, end the agent here and run `mosaicfs agent init URL --access-key-id KEY`; id, folders and"
            " files stay"
        )
    if name == "replication" and part.get("refused") and part.get("state") not in ("waiting", "stopped"):
        return "see the control plane's log; what it refused is not this machine's to write, and the rest goes on"
    if name == "crawler" and part.get("inaccessible"):
        return "make the folder readable or mount its disk; `mosaicfs folders remove` forgets one that is gone for good"
    if name == "plugins" and (missing := part.get("missing")):
        removes = ", ".join(f"`mosaicfs plugin remove {one}`" for one in missing)
        return f"install the package again, or clear up after it: {removes}; `mosaicfs plugin list` shows all"
    if name == "watcher" and part.get("unwatched"):
        return "let the kernel watch more: the check `inotify` of `mosaicfs doctor` says how"
    if name in ("link", "replication") and (part.get("clock_off_s") or "the clock of" in part.get("detail", "")):
        return "set the clock of the machine that is wrong: sudo timedatectl set-ntp true"
    log_dir = context.home.log_dir
    mends = {
        "crawler": f"make room if the disk is full, then `mosaicfs system reindex`; {log_dir} says more",
        "disk": "make room on that disk; it goes on by itself",
        "plugins": "correct its settings (`mosaicfs plugin list` names the package), or `mosaicfs plugin disable` it",
        "vfs_mount": f"see the check `fuse` of `mosaicfs doctor`; the mount's own log is {log_dir / 'mount.log'}",
        "replication": "it goes on by itself once the control plane is reached and takes what it is sent",
        "link": "see that the control plane runs and is reached from here; `mosaicfs credentials list` there tells"
        " whether this machine's key is enabled",
    }
    return mends.get(name, f"the log says more: {log_dir}")
