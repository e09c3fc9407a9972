"""``mosaicfs query``: ask the plugins of all machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli.output import cell

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

_COLUMNS: Final = {"node_id": "node", "export_path": "file", "score": "score", "text": "text"}
_TEXT: Final = 100


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the command."""

    @cli.command("query", short_help="Ask the plugins of all machines, as full-text search.")
    @click.argument("capability")
    @click.argument("text")
    @click.option(
        "--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="At most this many of each."
    )
    def query(capability: str, text: str, limit: int) -> None:
        """Ask every plugin that answers CAPABILITY (search, say) for TEXT, on all machines at once.

        Machines and plugins that do not answer within five seconds, are off or do not work at present are named at
        the end, as are those for which files still wait.
        """
        answer = context.api.send("POST", "query", {"capability": capability, "query": text, "limit": limit})
        if context.json:
            context.show(answer)
            return
        rows = sorted(_rows(answer), key=lambda row: -row["score"])
        context.show(rows, _COLUMNS, empty=_nothing(capability, answer))
        for one in answer["results"]:
            if lacking := _lacking(one):
                context.say(lacking)
        for one in answer["omitted"]:
            context.say(f"left out: {_left_out(one)}")


def _nothing(capability: str, answer: dict[str, Any]) -> str:
    """What to say when nothing was found: by whom is told after it."""
    if answer["results"]:
        return "Nothing found."
    if answer["omitted"]:
        return "Nobody answered."
    return f"No plugin answers {capability}. One that was switched on just now does in a moment."


def _left_out(one: dict[str, Any]) -> str:
    """Who did not answer, why, and of an instance that has not for some time since when and where to look."""
    if not one.get("plugin_name"):
        return f"{one['node_id']}: {one['reason']}"
    said = f"{one['plugin_name']} on {one['node_id']}: {one['reason']}"
    if not one.get("since"):
        return said
    return f"{said} (since {cell('since_at', one['since'])}; `mosaicfs nodes status {one['node_id']}` shows how it is)"


def _lacking(envelope: dict[str, Any]) -> str:
    """What an answer may lack, in a sentence; empty when it is whole."""
    who, waiting = f"{envelope['plugin_name']} on {envelope['node_id']}", envelope.get("waiting", 0)
    if waiting:
        files = "1 file still waits" if waiting == 1 else f"{waiting:,} files still wait"
        return f"not whole yet: {files} for {who}"
    return f"not whole yet: {who} still goes through its files" if envelope.get("syncing") else ""


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each result that has something to show in a table."""
    found = []
    for envelope in answer["results"]:
        for hit in envelope["results"]:
            file = hit.get("file") or {}
            fragments = hit.get("fragments") or []
            found.append(
                {
                    "node_id": file.get("node_id", envelope["node_id"]),
                    "export_path": file.get("export_path", ""),
                    "score": round(hit.get("score") or 0.0, 2),
                    "text": _marked(fragments[0]) if fragments else _data(hit.get("data") or {}),
                }
            )
    return found


def _marked(fragment: dict[str, Any]) -> str:
    """A fragment on one line, what was found between asterisks, cut around the first of it."""
    text, shift = fragment["text"], 0
    for start, end in sorted(fragment.get("highlights") or []):
        text = f"{text[: start + shift]}*{text[start + shift : end + shift]}*{text[end + shift :]}"
        shift += 2
    line = " ".join(text.split())
    begin = max(0, line.find("*") - _TEXT // 2)
    return ("…" if begin else "") + line[begin : begin + _TEXT] + ("…" if len(line) > begin + _TEXT else "")


def _data(data: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in data.items())[:_TEXT]
