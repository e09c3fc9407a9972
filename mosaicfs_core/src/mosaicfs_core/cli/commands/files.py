"""``mosaicfs files``: search, stat, excluded, fetch."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mosaicfs_core.cli.commands.excluded import add_excluded

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

COLUMNS = {"name": "name", "size": "size", "mtime": "changed", "export_path": "path", "id": "id"}
_FILE_ID = re.compile(r".+\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``files``."""

    @cli.group("files", short_help="Find, inspect and fetch files.")
    def files() -> None:
        """Find, inspect and fetch files."""

    _add_search(files, context)

    @files.command("stat")
    @click.argument("file")
    def stat(file: str) -> None:
        """Show what is known of FILE (its id, or its path on this machine or in the virtual tree), with what plugins
        said of it."""
        from mosaicfs_core.cli.commands.annotations import annotation_lines

        found = find_file(context, file)
        said = context.api.get("annotations", node_id=found["node_id"], path=found["export_path"], limit=500)["items"]
        context.show({**found, "annotations": said} if context.json else found)
        for one in () if context.json else said:
            for line in ("", *annotation_lines(one)):
                context.say(line)

    add_excluded(files, context)
    _add_fetch(files, context)


def _add_search(files: click.Group, context: TerminalContext) -> None:
    @files.command("search")
    @click.argument("text", required=False)
    @click.option("--node", metavar="NODE", help="Only files of this node, by name or id.")
    @click.option("--under", help="Only files under this path on their node (without TEXT).")
    @click.option("--type", "mime_type", help="Only this MIME type, or a glob such as 'image/*'.")
    @click.option("--deleted", is_flag=True, help="Deleted files instead of those that are there (without TEXT).")
    @click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="At most this many.")
    def search(
        text: str | None, node: str | None, under: str | None, mime_type: str | None, deleted: bool, limit: int
    ) -> None:
        """List files, by a part of their name or a pattern with TEXT."""
        from mosaicfs_core.hooks import node_argument, written_argument

        node_id = None if node is None else node_argument(context.api, node)
        if text is None:
            filters = {"node_id": node_id, "mime_type": mime_type, "path_prefix": under and written_argument(under)}
            status = "deleted" if deleted else "active"
            found = context.api.get("files", **filters, status=status, limit=limit)
        elif deleted or under:
            given = "--deleted" if deleted else "--under"
            raise click.UsageError(f"{given} cannot be given together with TEXT ({text!r}): it lists all such files")
        else:
            found = context.api.get(
                "search", q=written_argument(text), node_id=node_id, mime_type=mime_type, limit=limit
            )
        context.show(found, COLUMNS, "Nothing found.")


def _add_fetch(files: click.Group, context: TerminalContext) -> None:
    @files.command("fetch")
    @click.argument("file")
    @click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write it (default: here).")
    @click.option("--force", is_flag=True, help="Replace a file that is there.")
    def fetch(file: str, output: Path | None, force: bool) -> None:
        """Fetch the bytes of FILE: its id, or its path on this machine or in the virtual tree."""
        found = find_file(context, file)
        target = _target(output, str(found["name"]))
        if target.exists() and not force:
            raise click.UsageError(f"{target} exists; --force replaces it")
        with context.progress(str(found["name"]), int(found["size"])) as bar:
            seen = 0

            def progress(received: int, _total: int) -> None:
                nonlocal seen
                bar.advance(received - seen)
                seen = received

            size = context.api.download(f"files/{found['id']}/content", target, progress)
        context.show({"file": str(target), "size": size})


def find_file(context: TerminalContext, file: str) -> dict[str, Any]:
    """A file by its id, by its export path, or by its path in the virtual tree."""
    from mosaicfs_core.errors import NotFound
    from mosaicfs_core.hooks import tree_argument, written_argument

    if _FILE_ID.fullmatch(file):
        return dict(context.api.get(f"files/{file}"))
    path = tree_argument(file) or written_argument(os.path.abspath(file))
    found = context.api.get("files", export_path=path, limit=1)["items"]
    if found:
        return dict(found[0])
    try:
        return dict(context.api.get("files/by-path", path=path))
    except NotFound:
        raise NotFound(f"no indexed file is at {path}") from None


def _target(output: Path | None, name: str) -> Path:
    # A file's name comes from elsewhere: only its last component is used, whatever it says.
    plain = Path(name).name or "file"
    if output is None:
        return Path(plain)
    return output / plain if output.is_dir() else output
