"""``mosaicfs vfs``: the virtual tree from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from mosaicfs_core.documents.paths import escape, is_under
from mosaicfs_core.errors import NotFound
from mosaicfs_core.mount_table import tree_path
from mosaicfs_core.printing import printable
from mosaicfs_vfs.editing import edit as edit_in
from mosaicfs_vfs.editing import fields_of, parse, pretty, save

if TYPE_CHECKING:
    from mosaicfs_core.hooks import CommandContext

_PAGE: Final = 500
_STEP_WIDTH: Final = 80


class _Given(NamedTuple):
    """A path as the terminal gives it, in written form (bytes that are not UTF-8 are kept): absolute, and one inside
    the mount as its place in the tree. ``native`` ones can only mean the disk."""

    path: str
    native: bool


def _given(value: str) -> _Given:
    absolute = value if value.startswith("/") else os.path.abspath(value)
    meant = tree_path(absolute)
    return _Given(escape(os.fsencode(meant)), native=meant == absolute != value)


def _virtual_path(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """A path of the tree; a relative one makes sense only within the mount."""
    given = _given(value)
    if given.native:
        raise click.BadParameter(f"expected a path of the tree, which begins with /, got {value!r}")
    return given.path


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
    @click.argument("path", callback=_virtual_path, default="/")
    @click.option("-l", "--long", is_flag=True, help="Show size, time, node and inode.")
    def ls(path: str, long: bool) -> None:
        """List a directory of the virtual tree, or one file."""
        listing = _listing_or_file(context, path)
        columns = {"shown": "name"}
        if long:
            columns = {"inode": "inode", "size": "size", "mtime": "mtime", "file.node_id": "node", "shown": "name"}
        _show_entries(context, listing, columns)

    @vfs.command("tree")
    @click.argument("path", callback=_virtual_path, default="/")
    @click.option("--depth", type=click.IntRange(1, 10), default=3, show_default=True, help="How many levels.")
    def tree(path: str, depth: int) -> None:
        """Show the directories beneath PATH."""
        answer = context.api.get("vfs/tree", path=path, depth=depth)
        if context.json:
            context.show(answer)
        else:
            context.show(list(_tree_lines(answer)))

    @vfs.command("show")
    @click.argument("path", callback=_virtual_path)
    def show(path: str) -> None:
        """Show a virtual directory: its mounts and steps."""
        document = context.api.get("vfs/directory", path=path)
        if context.json:
            context.show(document)
        else:
            context.show(pretty(document))


def _add_explaining(vfs: click.Group, context: CommandContext) -> None:
    @vfs.command("explain")
    @click.argument("path", required=False)
    @click.option("--file-id", help="The file in question, when the path does not say which.")
    def explain(path: str | None, file_id: str | None) -> None:
        """Say why a file is shown where it is, or why it is not.

        PATH is a path of the virtual tree, or a file's own path on its machine; a relative one is a file's own.
        """
        if path is None and file_id is None:
            raise click.UsageError("give a PATH, a --file-id or both")
        given = None if path is None else _given(path)
        if given is not None and given.native and file_id is not None:
            raise click.UsageError(f"with --file-id expected a path of the tree, which begins with /, got {path!r}")
        place = {} if given is None else {"export_path" if given.native else "path": given.path}
        asked = {**place, "file_id": file_id}
        answer = context.api.get("vfs/explain", **{name: value for name, value in asked.items() if value is not None})
        if context.json:
            context.show(answer)
        else:
            context.show(list(_explanation_lines(answer)))

    @vfs.command("preview")
    @click.argument("path", callback=_virtual_path)
    @click.option("--file", "source", type=click.File(), required=True, help="JSON: a list of mounts; - for stdin.")
    @click.option("--limit", type=click.IntRange(1, _PAGE), default=20, show_default=True, help="At most this many.")
    def preview(path: str, source: Any, limit: int) -> None:
        """Show what mounts would show in PATH without saving them."""
        given = parse(source.read())
        mounts = given.get("mounts") if isinstance(given, dict) else given
        answer = context.api.send("POST", "vfs/preview", {"mounts": mounts, "limit": limit}, path=path)
        _warn(answer)
        context.show(answer, {"path": "path", "file.size": "size", "file.node_id": "node"}, empty="no file matches")


def _add_editing(vfs: click.Group, context: CommandContext) -> None:
    @vfs.command("mkdir")
    @click.argument("path", callback=_virtual_path)
    @click.option("-p", "--parents", is_flag=True, help="Make what is missing above it, too.")
    def mkdir(path: str, parents: bool) -> None:
        """Make a virtual directory."""
        made = context.api.send("POST", "vfs/directories", {"path": path, "parents": parents})
        _report(context, made, f"made {made['path']}")

    @vfs.command("rmdir")
    @click.argument("path", callback=_virtual_path)
    @click.option("--force", is_flag=True, help="Remove the virtual directories in it as well.")
    def rmdir(path: str, force: bool) -> None:
        """Remove a virtual directory. Files stay where they are."""
        answer = context.api.send("DELETE", "vfs/directory", path=path, force=int(force))
        _report(context, answer, f"removed {', '.join(answer['removed'])}")

    @vfs.command("mv")
    @click.argument("path", callback=_virtual_path)
    @click.argument("target", callback=_virtual_path)
    def mv(path: str, target: str) -> None:
        """Rename or move a virtual directory with all that is beneath it."""
        moved = context.api.send("PATCH", "vfs/directory", {"path": target}, path=path)
        _report(context, moved, f"{path} is now {moved['path']}")

    @vfs.command("edit")
    @click.argument("path", callback=_virtual_path)
    @click.option(
        "--file", "source", type=click.File(), help="Take the JSON from a file (- for stdin), open no editor."
    )
    def edit(path: str, source: Any) -> None:
        """Edit the mounts and steps of a virtual directory as JSON in $EDITOR."""
        changed = edit_in(context, path) if source is None else save(context, path, fields_of(parse(source.read())))
        if changed is not None:
            _warn(changed)
            _report(context, changed, f"saved {changed['path']}")


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
    _warn(listing)
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
    path, mounts = answer["path"], answer["mounts"]
    near = [mount for mount in mounts if path is not None and is_under(path, mount["directory"])]
    for mount in near or mounts:
        yield ""
        yield f"mount of {mount['node_id']}:{mount['export_path']} in {mount['directory']} ({mount['strategy']})"
        for chain in mount["chains"]:
            origin = chain["origin"] or "the mount"
            yield f"  steps of {origin}{' (inherited)' if chain['inherited'] else ''}: {_passes(chain['passes'])}"
            for step in chain["steps"]:
                yield f"    {_step_line(step)}"
        yield f"  → {mount['path'] if mount['shown'] else 'not shown'}: {mount['message']}"
    others = len(mounts) - len(near) if near else 0
    if others:
        yield ""
        cover = "mount covers" if others == 1 else "mounts cover"
        yield f"{others} more {cover} the file elsewhere; --json shows them."


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


def _warn(answer: dict[str, Any]) -> None:
    for warning in answer.get("warnings") or ():
        click.echo(f"warning: {printable(warning)}", err=True)
