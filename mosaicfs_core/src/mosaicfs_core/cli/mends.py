"""What to do about a part of an agent that is not well, by the reason that it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosaicfs_core.documents.standing import DISABLED, KEY_OF
from mosaicfs_core.home import Home
from mosaicfs_core.security import enrolment
from mosaicfs_core.security.enrolment import ENROL_AGAIN
from mosaicfs_core.security.presence import TWICE
from mosaicfs_core.security.requests import NOT_TRUSTED


def mend_of(name: str, part: Mapping[str, Any], home: Home) -> str:
    """What to do about the part ``name`` of this home's agent, which says ``part`` of itself in its status."""
    detail = str(part.get("detail", ""))
    if name in ("link", "replication") and (mend := _of_connection(detail, home)):
        return mend
    if name in ("link", "replication") and (part.get("clock_off_s") or "the clock of" in detail):
        return "set the clock of the machine that is wrong: sudo timedatectl set-ntp true"
    if name == "replication" and part.get("refused") and part.get("state") not in ("waiting", "stopped"):
        return "see the control plane's log; what it refused is not this machine's to write, and the rest goes on"
    if name == "crawler" and part.get("inaccessible"):
        return "make the folder readable or mount its disk; `mosaicfs folders remove` forgets one that is gone for good"
    if name == "plugins" and (missing := part.get("missing")):
        removes = ", ".join(f"`mosaicfs plugin remove {one}`" for one in missing)
        return f"install the package again, or clear up after it: {removes}; `mosaicfs plugin list` shows all"
    if name == "watcher" and part.get("unwatched"):
        return "let the kernel watch more: the check `inotify` of `mosaicfs doctor` says how"
    if name == "instances" and _without_room(part):
        return (
            "pin less, or give the cache more room: raise `cache_max_bytes`, or lower `cache_min_free_bytes` or make"
            " room on its disk; `mosaicfs plugin set --node NODE agent cache_max_bytes=…` on the control plane sets"
            " them"
        )
    return _otherwise(name, home)


def _of_connection(detail: str, home: Home) -> str:
    """What to do where the control plane refuses this machine, or is not the one that it was; "" for other reasons."""
    if ENROL_AGAIN in detail:
        return (
            "it was made anew, or restored from an older copy: make a key there with `mosaicfs credentials create NAME"
            " --kind agent`, end the agent here and run `mosaicfs agent init URL --access-key-id KEY`; id, folders and"
            " files stay"
        )
    if NOT_TRUSTED in detail:
        return (
            "if its authority was made anew, end the agent here and run `mosaicfs agent init URL --ca-fingerprint"
            " SHA256`, with what `mosaicfs system fingerprint` shows on the control plane's machine; if not, see what"
            " answers at that address"
        )
    if TWICE in detail:
        return (
            "stop one of the two; if this one is to stay, run `mosaicfs agent init URL` here then, and a copy that is"
            " to be a machine of its own needs an empty home and a key of its own"
        )
    if DISABLED not in detail:
        return ""
    if KEY_OF not in detail:
        return 'let it in again on the control plane, if it is to be: `PATCH /api/nodes/ID` with `{"enabled": true}`'
    known = enrolment.load(home)
    key = known.access_key_id if known is not None and known.access_key_id is not None else "KEY"
    return (
        f"let it in again on the control plane, if it is to be: `mosaicfs credentials enable {key}`; or make a further"
        " key there, end the agent here and run `mosaicfs agent init URL --access-key-id` with that"
    )


def _without_room(part: Mapping[str, Any]) -> bool:
    """Whether an instance tells of pins that the cache has no room for."""
    told = (pin for report in part.get("reports", {}).values() for pin in report.get("pins", ()))
    return any(pin.get("state") == "no_room" for pin in told)


def _otherwise(name: str, home: Home) -> str:
    """What mends most of what befalls a part."""
    log_dir = home.log_dir
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
