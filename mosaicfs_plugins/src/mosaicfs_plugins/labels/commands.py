"""``mosaicfs labels``: labels of files and rules of folders, from the command line."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from mosaicfs_core.hooks import CommandContext, UserError, node_argument, tree_argument, written_argument

_RULE_COLUMNS: Final = {
    "id": "id",
    "labels": "labels",
    "node_id": "node",
    "path_prefix": "folder",
    "name": "name",
    "enabled": "enabled",
}
_PAGE: Final = 500


def written(path: str) -> str:
    """A path of this machine, made absolute, as the index writes it (bytes that are not UTF-8 as U+10FFNN)."""
    return written_argument(os.path.abspath(os.path.expanduser(path)))


def target_of(context: CommandContext, file: str, node: str | None, virtual: bool) -> dict[str, Any]:
    """What the API needs to name a file: an id, a path of the virtual tree, or a path on a node."""
    if virtual:
        return {"file_id": context.api.get("files/by-path", path=file)["id"]}
    if "/" not in file and not os.path.lexists(os.path.expanduser(file)) and "." in file and len(file) > 37:
        return {"file_id": file}
    if node is not None:
        return {"node_id": node_argument(context.api, node), "export_path": file}
    if (place := tree_argument(file)) is not None and not os.path.isdir(os.path.expanduser(file)):
        return {"file_id": context.api.get("files/by-path", path=place)["id"]}
    if os.path.isdir(os.path.expanduser(file)):
        raise click.UsageError(f"{file} is a folder; label what is in it with: mosaicfs labels rules add")
    return {"export_path": written(file)}


def _file_options(command: Any) -> Any:
    for option in (
        click.option("--node", metavar="NODE", help="The node FILE is a path on (default: this machine)."),
        click.option("--virtual", is_flag=True, help="FILE is a path of the virtual tree."),
    ):
        command = option(command)
    return command


def register(cli: click.Group, context: CommandContext) -> None:
    """Add the group."""

    @cli.group(name="labels", short_help="Put labels on files and folders.")
    def labels() -> None:
        """Put labels on files, and on folders by rules. FILE is a path, or a file's id."""

    _add_reading(labels, context)
    _add_changes(labels, context)

    @labels.group(short_help="Label everything in a folder.")
    def rules() -> None:
        """Rules give labels to everything in a folder, at any depth, now and later."""

    _add_rules(rules, context)
    _add_rule_change(rules, context)


def _all_pages(context: CommandContext, path: str, **params: Any) -> dict[str, Any]:
    """Every item of a list, fetched page by page."""
    items: list[Any] = []
    while True:
        page = context.api.get(path, limit=_PAGE, offset=len(items), **params)
        items += page["items"]
        if not page["items"] or len(items) >= page["total"]:
            return {"items": items, "total": len(items)}


def _add_reading(labels: click.Group, context: CommandContext) -> None:
    @labels.command(name="list", short_help="List the labels in use, or the files with a label.")
    @click.argument("label", required=False)
    def list_labels(label: str | None) -> None:
        """List the labels in use; with LABEL, the files it was put on."""
        if label is None:
            columns = {"label": "label", "files": "files", "rules": "rules"}
            context.show(_all_pages(context, "labels"), columns, empty="No labels yet.")
            return
        found = _all_pages(context, "labels/assignments", label=label)
        columns = {"node_id": "node", "export_path": "path", "labels": "labels"}
        context.show(found, columns, empty=f"No file has the label {label} itself.")

    @labels.command(short_help="Show a file's labels and where they come from.")
    @click.argument("file")
    @_file_options
    def show(file: str, node: str | None, virtual: bool) -> None:
        """Show the labels FILE has: those put on it, and those that rules give it."""
        found = context.api.get("labels/effective", **target_of(context, file, node, virtual))
        rows = [{"label": label, "source": "put on the file"} for label in found["assigned"]]
        rows += [
            {"label": label, "source": f"rule {rule['name']} ({rule['path_prefix']})"}
            for rule in found["rules"]
            for label in rule["labels"]
        ]
        context.show(rows, {"label": "label", "source": "comes from"}, empty="No labels.")


def _add_changes(labels: click.Group, context: CommandContext) -> None:
    def change(file: str, node: str | None, virtual: bool, **fields: Any) -> None:
        body = {**target_of(context, file, node, virtual), **fields}
        found = context.api.send("PUT", "labels/assignments", body)
        context.show(found, {"export_path": "path", "labels": "labels"})
        if not found["indexed"]:
            context.say("No file is indexed at that path yet; the labels wait for it.")

    @labels.command(name="set", short_help="Give a file exactly these labels.")
    @click.argument("file")
    @click.argument("label", nargs=-1, required=True)
    @_file_options
    def set_labels(file: str, label: tuple[str, ...], node: str | None, virtual: bool) -> None:
        """Give FILE exactly these labels."""
        change(file, node, virtual, labels=list(label))

    @labels.command(short_help="Add labels to a file.")
    @click.argument("file")
    @click.argument("label", nargs=-1, required=True)
    @_file_options
    def add(file: str, label: tuple[str, ...], node: str | None, virtual: bool) -> None:
        """Add labels to those FILE has."""
        change(file, node, virtual, add=list(label))

    @labels.command(short_help="Take labels off a file.")
    @click.argument("file")
    @click.argument("label", nargs=-1, required=True)
    @_file_options
    def remove(file: str, label: tuple[str, ...], node: str | None, virtual: bool) -> None:
        """Take labels off FILE."""
        change(file, node, virtual, remove=list(label))

    @labels.command(short_help="Take all labels off a file.")
    @click.argument("file")
    @_file_options
    def clear(file: str, node: str | None, virtual: bool) -> None:
        """Take off all labels that were put on FILE itself."""
        found = context.api.send("DELETE", "labels/assignments", **target_of(context, file, node, virtual))
        context.say(f"Took off {', '.join(found['labels']) or 'nothing'}.")


def _add_rules(rules: click.Group, context: CommandContext) -> None:
    @rules.command(name="list", short_help="List the rules.")
    def list_rules() -> None:
        """List the rules."""
        context.show(_all_pages(context, "labels/rules"), _RULE_COLUMNS, empty="No rules yet.")

    @rules.command(name="add", short_help="Make a rule.")
    @click.argument("folder")
    @click.argument("label", nargs=-1, required=True)
    @click.option("--node", default="*", metavar="NODE", help="Only on this node (default: on all).")
    @click.option("--name", help="What to call the rule.")
    def add_rule(folder: str, label: tuple[str, ...], node: str, name: str | None) -> None:
        """Give everything in FOLDER these labels."""
        where = {"path_prefix": _folder(folder, node), "node_id": _node_or_all(context, node)}
        body: dict[str, Any] = {**where, "labels": list(label)}
        if name is not None:
            body["name"] = name
        context.show(context.api.send("POST", "labels/rules", body), _RULE_COLUMNS)

    @rules.command(short_help="Delete a rule.")
    @click.argument("rule_id")
    def remove(rule_id: str) -> None:
        """Delete the rule RULE_ID."""
        found = context.api.send("DELETE", f"labels/rules/{rule_id}")
        context.say(f"Deleted the rule {found['name']}.")

    @rules.command(short_help="Count the files a rule would cover.")
    @click.argument("folder")
    @click.option("--node", default="*", metavar="NODE", help="Only on this node (default: on all).")
    def preview(folder: str, node: str) -> None:
        """Count the files in FOLDER that a rule would label, and name some."""
        found = context.api.send(
            "POST",
            "labels/rules/preview",
            {"path_prefix": _folder(folder, node), "node_id": _node_or_all(context, node)},
        )
        page = {"items": found["examples"], "total": found["total"], "more": found["more"]}
        context.show(page, {"node_id": "node", "export_path": "path"}, empty="No files.")


def _add_rule_change(rules: click.Group, context: CommandContext) -> None:
    @rules.command(short_help="Change a rule.")
    @click.argument("rule_id")
    @click.option("--folder", help="Another folder.")
    @click.option("--label", multiple=True, help="Other labels (repeat for several).")
    @click.option("--node", metavar="NODE", help="Another node, or * for all.")
    @click.option("--name", help="Another name.")
    @click.option("--enable/--disable", "enabled", default=None, help="Switch it on or off.")
    def change(
        rule_id: str,
        folder: str | None,
        label: tuple[str, ...],
        node: str | None,
        name: str | None,
        enabled: bool | None,
    ) -> None:
        """Change the rule RULE_ID."""
        fields = {
            "path_prefix": None if folder is None else _folder(folder, node or "*"),
            "labels": list(label) or None,
            "node_id": None if node is None else _node_or_all(context, node),
            "name": name,
            "enabled": enabled,
        }
        body = {key: value for key, value in fields.items() if value is not None}
        if not body:
            raise click.UsageError("Say what to change.")
        context.show(context.api.send("PATCH", f"labels/rules/{rule_id}", body), _RULE_COLUMNS)


def _node_or_all(context: CommandContext, node: str) -> str:
    """The id of a node, or ``*`` for all."""
    return node if node == "*" else node_argument(context.api, node)


def _folder(folder: str, node: str) -> str:
    """A folder's path: of this machine as the shell knows it, of another as it is written."""
    if node != "*" and folder.startswith("/"):
        return folder
    if tree_argument(folder) is not None:
        text = "name the folder where its files really are, with --node; `mosaicfs files stat` of one shows where"
        raise UserError(f"{folder} is a place of the tree, on the mount: {text}")
    return written(folder)
