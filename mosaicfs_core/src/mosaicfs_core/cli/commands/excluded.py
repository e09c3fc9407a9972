"""``mosaicfs files excluded``: what is left out of the index, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

PAGE: Final = 5_000
COLUMNS: Final = {"kind": "kind", "export_path": "path", "reason": "reason"}
PLURALS: Final = {
    "symlink": ("symbolic link", "symbolic links"),
    "special": ("special file", "special files"),
    "ignored": ("ignored", "ignored"),
    "unreadable": ("unreadable", "unreadable"),
}


def add_excluded(files: click.Group, context: TerminalContext) -> None:
    """Add ``excluded`` to the group ``files``."""

    @files.command("excluded")
    @click.argument("path", required=False)
    def excluded(path: str | None) -> None:
        """List what is left out of the index, and why.

        PATH limits the list to what lies there on this machine, or says why PATH itself is left out.
        """
        from mosaicfs_core.content.roots import root_path

        node_id = context.api.get("system/info")["node_id"]
        asked = {} if path is None else {"path": root_path(path)}
        found: list[dict[str, Any]] = []
        more = True
        while more:
            page = context.api.get(f"nodes/{node_id}/exclusions", **asked, limit=PAGE, offset=len(found))
            found += page["items"]
            more = page["more"] and bool(page["items"])
        rows = found if context.json else [{**one, "reason": _reason(one)} for one in found]
        answer = {"items": rows, "total": len(rows)}
        context.show(answer, COLUMNS, "Nothing is left out.")


def left_out(counts: dict[str, int]) -> str:
    """What the last whole crawl left out, in words; an empty text for nothing."""
    parts = [f"{count:,} {PLURALS[kind][count != 1]}" for kind in PLURALS if (count := counts.get(kind, 0))]
    return ", ".join(parts)


def _reason(one: dict[str, Any]) -> str:
    return f"{one['reason']} ({one['count']:,})" if one["count"] > 1 else str(one["reason"])
