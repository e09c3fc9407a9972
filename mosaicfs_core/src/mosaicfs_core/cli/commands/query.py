"""``mosaicfs query``: ask the plugins of all machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli.output import cell
from mosaicfs_core.printing import printable

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

_COLUMNS: Final = {"node_id": "node", "plugin_name": "plugin", "export_path": "file", "score": "score", "text": "text"}
_TEXT: Final = 100
_VALUE: Final = 200
"""Characters that are shown of a value of a plugin's own; ``--json`` shows all."""


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the command."""

    @cli.command("query", short_help="Ask the plugins of all machines, as full-text search.")
    @click.argument("capability")
    @click.argument("text", default="")
    @click.option(
        "--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="At most this many of each."
    )
    def query(capability: str, text: str, limit: int) -> None:
        """Ask every plugin that answers CAPABILITY (search, say) for TEXT, on all machines at once.

        Whatever they answer is shown: files that were found as a table, figures (dashboard_widget, which needs no
        TEXT) as a list for each plugin, long values shortened. --json shows them whole.

        Machines and plugins that do not answer within five seconds, are off or do not work at present are named at
        the end, as are those for which files still wait.
        """
        if capability == "search" and not text:
            raise click.UsageError("search needs a TEXT to look for")
        answer = context.api.send("POST", "query", {"capability": capability, "query": text, "limit": limit})
        if context.json:
            context.show(answer)
            return
        rows = sorted(_rows(answer), key=lambda row: -(row["score"] or 0.0))
        told = [one for one in answer["results"] if one.get("data")]
        if rows or not told:
            context.show(rows, _columns(rows), empty=_nothing(capability, answer))
        for one in told:
            context.show(_heading(one))
            found = figures(one["data"])
            context.show(found, {name: name.replace("_", " ") for name in found})
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


def _heading(envelope: dict[str, Any]) -> str:
    """Who answers, and what that is."""
    who, what = f"{envelope['plugin_name']} on {envelope['node_id']}", envelope.get("description")
    return f"{who}: {what}" if what else who


def figures(data: Mapping[str, Any]) -> dict[str, Any]:
    """A plugin's own answer, whatever its shape, for a list of names and values: objects within it by dotted names,
    other values as they are or shortened."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{inner}": one for inner, one in figures(value).items()}
        else:
            found[name] = _short(name, value)
    return found


def _short(name: str, value: Any) -> Any:
    text = cell(name, value)
    return f"{text[:_VALUE]}…" if len(text) > _VALUE else value


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Those in which something stands: which they are is the capability's business. Whose answer a line is only
    needs to be said where the file does not tell."""
    used = {key for row in rows for key, value in row.items() if value not in ("", None)}
    if all(row["export_path"] for row in rows):
        used.discard("plugin_name")
    return {key: title for key, title in _COLUMNS.items() if key in used}


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each result."""
    found = []
    for envelope in answer["results"]:
        for hit in envelope["results"]:
            file = hit.get("file") or {}
            fragments, score = hit.get("fragments") or [], hit.get("score")
            found.append(
                {
                    "node_id": file.get("node_id", envelope["node_id"]),
                    "plugin_name": envelope["plugin_name"],
                    "export_path": file.get("export_path") or hit.get("file_id") or "",
                    "score": None if score is None else round(score, 2),
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


def _data(data: Mapping[str, Any]) -> str:
    text = ", ".join(f"{printable(name)}: {cell(name, value)}" for name, value in figures(data).items())
    return f"{text[:_VALUE]}…" if len(text) > _VALUE else text
