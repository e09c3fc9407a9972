"""``mosaicfs vfs``: the virtual tree from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.documents.paths import escape
from mosaicfs_core.errors import Conflict, NotFound, UserError
from mosaicfs_vfs.fuse.mountpoint import tree_path

if TYPE_CHECKING:
    from mosaicfs_core.hooks import CommandContext

EDITABLE: Final = ("steps", "default_result", "enforce_steps_on_children", "mounts")
_PAGE: Final = 500
_STEP_WIDTH: Final = 80


def _written(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A path as the terminal gives it, in written form (bytes that are not UTF-8 are kept). A relative one is a native
    path beside the current directory; one inside the mount stands for its place in the tree."""
    if value is None:
        return None
    return escape(os.fsencode(tree_path(value if value.startswith("/") else os.path.abspath(value))))


def register(cli: click.Group, context: CommandContext) -> None:
    """Add the group ``vfs``."""

    @cli.group("vfs")
    def vfs() -> None:
        """Browse and edit the virtual tree."""

    _add_reading(vfs, context)
    _add_explaining(vfs, context)
    _add_editing(vfs, context)


def _add_reading(vfs: click.Group, context: CommandContext) -> None:
    @vfs.command("ls")
    @click.argument("path", callback=_written, default="/")
    @click.option("-l", "--long", is_flag=True, help="Show size, time, node and inode.")
    def ls(path: str, long: bool) -> None:
        """List a directory of the virtual tree, or one file."""
        listing = _listing_or_file(context, path)
        columns = {"shown": "name"}
        if long:
            columns = {"inode": "inode", "size": "size", "mtime": "mtime", "file.node_id": "node", "shown": "name"}
        _show_entries(context, listing, columns)

    @vfs.command("tree")
    @click.argument("path", callback=_written, default="/")
    @click.option("--depth", type=click.IntRange(1, 10), default=3, show_default=True)
    def tree(path: str, depth: int) -> None:
        """Show the directories beneath PATH."""
        answer = context.api.get("vfs/tree", path=path, depth=depth)
        if context.json:
            context.show(answer)
        else:
            context.show("\n".join(_tree_lines(answer)))

    @vfs.command("show")
    @click.argument("path", callback=_written)
    def show(path: str) -> None:
        """Show a virtual directory: its mounts and steps."""
        document = context.api.get("vfs/directory", path=path)
        if context.json:
            context.show(document)
        else:
            context.show(_pretty(document))


def _add_explaining(vfs: click.Group, context: CommandContext) -> None:
    @vfs.command("explain")
    @click.argument("path", callback=_written, required=False)
    @click.option("--file-id", help="The file in question, when the path does not say which.")
    def explain(path: str | None, file_id: str | None) -> None:
        """Say why a file is shown where it is, or why it is not.

        PATH is a path of the virtual tree, or a file's own path on its machine.
        """
        if path is None and file_id is None:
            raise click.UsageError("give a PATH, a --file-id or both")
        asked = {"path": path, "file_id": file_id}
        answer = context.api.get("vfs/explain", **{name: value for name, value in asked.items() if value is not None})
        if context.json:
            context.show(answer)
        else:
            context.show("\n".join(_explanation_lines(answer)))

    @vfs.command("preview")
    @click.argument("path", callback=_written)
    @click.option("--file", "source", type=click.File(), required=True, help="JSON: a list of mounts; - for stdin.")
    @click.option("--limit", type=click.IntRange(1, _PAGE), default=20, show_default=True)
    def preview(path: str, source: Any, limit: int) -> None:
        """Show what mounts would show in PATH without saving them."""
        given = _parse(source.read())
        mounts = given.get("mounts") if isinstance(given, dict) else given
        answer = context.api.send("POST", "vfs/preview", {"mounts": mounts, "limit": limit}, path=path)
        _warn(context, answer)
        context.show(answer, {"path": "path", "file.size": "size", "file.node_id": "node"}, empty="no file matches")


def _add_editing(vfs: click.Group, context: CommandContext) -> None:
    @vfs.command("mkdir")
    @click.argument("path", callback=_written)
    @click.option("-p", "--parents", is_flag=True, help="Make what is missing above it, too.")
    def mkdir(path: str, parents: bool) -> None:
        """Make a virtual directory."""
        made = context.api.send("POST", "vfs/directories", {"path": path, "parents": parents})
        _report(context, made, f"made {made['path']}")

    @vfs.command("rmdir")
    @click.argument("path", callback=_written)
    @click.option("--force", is_flag=True, help="Remove the virtual directories in it as well.")
    def rmdir(path: str, force: bool) -> None:
        """Remove a virtual directory. Files stay where they are."""
        answer = context.api.send("DELETE", "vfs/directory", path=path, force=int(force))
        _report(context, answer, f"removed {', '.join(answer['removed'])}")

    @vfs.command("mv")
    @click.argument("path", callback=_written)
    @click.argument("target", callback=_written)
    def mv(path: str, target: str) -> None:
        """Rename or move a virtual directory with all that is beneath it."""
        moved = context.api.send("PATCH", "vfs/directory", {"path": target}, path=path)
        _report(context, moved, f"{path} is now {moved['path']}")

    @vfs.command("edit")
    @click.argument("path", callback=_written)
    @click.option(
        "--file", "source", type=click.File(), help="Take the JSON from a file (- for stdin), open no editor."
    )
    def edit(path: str, source: Any) -> None:
        """Edit the mounts and steps of a virtual directory as JSON in $EDITOR."""
        changed = _edit(context, path) if source is None else _save(context, path, _fields(_parse(source.read())))
        if changed is not None:
            _warn(context, changed)
            _report(context, changed, f"saved {changed['path']}")


# -- editing ---------------------------------------------------------------------------------------------------------


def _edit(context: CommandContext, path: str) -> dict[str, Any] | None:
    """Open the editor until what it gives is accepted; None when nothing was changed."""
    document = context.api.get("vfs/directory", path=path)
    original = _pretty({name: document.get(name) for name in EDITABLE})
    text, shown = original, original
    while True:
        edited = click.edit(shown, extension=".json")
        if edited is None or _bare(edited) == _bare(original):
            context.say("nothing was changed")
            return None
        try:
            fields = _fields(_parse(_bare(edited)))
            present = context.api.get("vfs/directory", path=path)
            if any(present.get(name) != document.get(name) for name in EDITABLE):
                raise Conflict(f"{path} was changed by someone else while you edited it; edit it again")
            return _save(context, path, fields)
        except UserError as error:
            if _bare(edited) == _bare(text) and shown != original:
                raise  # the editor was left without a change: the user gave up
            text = edited
            shown = _with_comment(error.message, _bare(edited))


def _save(context: CommandContext, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = context.api.send("PATCH", "vfs/directory", fields, path=path)
    return answer


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"this is not JSON: {error}") from None


def _fields(given: Any) -> dict[str, Any]:
    """What may be set, from a list of mounts, an object of fields, or what ``vfs show --json`` prints."""
    if isinstance(given, list):
        return {"mounts": given}
    if not isinstance(given, dict):
        raise UserError("expected a JSON object with mounts and steps, or a list of mounts")
    fields = {name: given[name] for name in EDITABLE if name in given}
    if not fields:
        raise UserError(f"expected at least one of {', '.join(EDITABLE)}")
    return fields


def _bare(text: str) -> str:
    """The text without the lines that begin with ``//``."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//")).strip() + "\n"


def _with_comment(message: str, text: str) -> str:
    lines = [f"// {line}" for line in message.splitlines()]
    return "\n".join([*lines, "// Mend it and save, or leave without a change to give up.", text])


# -- showing ---------------------------------------------------------------------------------------------------------


def _listing_or_file(context: CommandContext, path: str) -> dict[str, Any]:
    try:
        return _whole_listing(context, path)
    except NotFound as missing:
        try:
            file = context.api.get("files/by-path", path=path)
        except NotFound:
            raise missing from None
    facts = {name: file[name] for name in ("inode", "size", "mtime")}
    item = {"name": path, "path": path, "kind": "file", **facts, "file": file}
    return {"path": path, "items": [item], "total": 1, "offset": 0, "limit": 1}


def _whole_listing(context: CommandContext, path: str) -> dict[str, Any]:
    listing: dict[str, Any] = context.api.get("vfs", path=path, limit=_PAGE)
    while len(listing["items"]) < listing["total"]:
        page = context.api.get("vfs", path=path, limit=_PAGE, offset=len(listing["items"]))
        if not page["items"]:
            break  # it became shorter meanwhile
        listing["items"] += page["items"]
        listing["total"] = page["total"]
    return listing


def _show_entries(context: CommandContext, listing: dict[str, Any], columns: dict[str, str]) -> None:
    _warn(context, listing)
    if context.json:
        context.show(listing)
        return
    rows = [{**item, "shown": item["name"] + ("/" if item["kind"] == "directory" else "")} for item in listing["items"]]
    if len(columns) == 1:
        context.show([row["shown"] for row in rows], empty="")
    else:
        context.show(rows, columns, empty="")


def _tree_lines(answer: dict[str, Any], indent: str = "") -> Iterator[str]:
    files = answer["files"]
    note = f"  ({files} {'file' if files == 1 else 'files'})" if files else ""
    yield f"{indent}{answer['name'] or '/'}{'/' if answer['name'] else ''}{note}"
    for child in answer.get("children") or ():
        yield from _tree_lines(child, indent + "  ")
    if answer.get("more"):
        yield f"{indent}  …"


def _explanation_lines(answer: dict[str, Any]) -> Iterator[str]:
    yield answer["message"]
    for mount in answer["mounts"]:
        yield ""
        yield f"mount of {mount['node_id']}:{mount['export_path']} in {mount['directory']} ({mount['strategy']})"
        for chain in mount["chains"]:
            origin = chain["origin"] or "the mount"
            yield f"  steps of {origin}{' (inherited)' if chain['inherited'] else ''}: {_passes(chain['passes'])}"
            for step in chain["steps"]:
                yield f"    {_step_line(step)}"
        yield f"  → {mount['path'] if mount['shown'] else 'not shown'}: {mount['message']}"


def _step_line(step: dict[str, Any]) -> str:
    if step["number"] is None:
        return f"after the last step: {step['result']}"
    fields = {key: value for key, value in (step["step"] or {}).items() if key not in ("op", "on_match", "on_no_match")}
    shown = json.dumps(fields, ensure_ascii=False)
    shown = shown if len(shown) <= _STEP_WIDTH else shown[: _STEP_WIDTH - 1] + "…"
    matched = {True: "matches", False: "does not match", None: "skipped"}[step["matched"]]
    note = f" ({step['note']})" if step["note"] else ""
    return f"{step['number']}. {step['op']} {shown}: {matched} → {step['result']}{note}"


def _passes(passes: bool) -> str:
    return "let it pass" if passes else "exclude it"


def _report(context: CommandContext, value: dict[str, Any], sentence: str) -> None:
    if context.json:
        context.show(value)
    else:
        context.say(sentence)


def _warn(context: CommandContext, answer: dict[str, Any]) -> None:
    for warning in answer.get("warnings") or ():
        click.echo(f"warning: {warning}", err=True)


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
