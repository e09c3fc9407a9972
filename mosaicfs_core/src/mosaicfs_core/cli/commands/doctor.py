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
    from mosaicfs_core.cli.mends import mend_of
    from mosaicfs_core.security.enrolment import ENROL_AGAIN

    found = []
    for name, part in node.get("subsystems", {}).items():
        detail, failed = str(part.get("detail", "")), "; ".join(failed_jobs(node)) if name == "jobs" else ""
        if part.get("status") in ("degraded", "unhealthy"):
            said = detail.replace(f"; {ENROL_AGAIN}", "")
            found.append(Finding(name, "warning", said, failed or mend_of(name, part, context.home)))
        elif failed:
            found.append(Finding(name, "ok", detail, failed))
        elif part.get("recovered"):
            found.append(Finding(name, "ok", part["recovered"]))
    return found
