"""What the commands about plugin instances share: which instance of which node, and how an answer is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.similar import similar

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

node_option: Final = click.option(
    "--node", metavar="NODE", help="The node of the instance, by name or id; this machine's by default."
)


def node_id_of(context: TerminalContext, node: str | None) -> str:
    """The node that an option names; this machine's without one."""
    from mosaicfs_core.hooks import node_argument

    return context.home.node_id() if node is None else node_argument(context.api, node)


def instance_path(context: TerminalContext, name: str, node: str | None) -> str:
    """The path of an instance in the API."""
    return f"nodes/{node_id_of(context, node)}/plugins/{name}"


def installed_on(context: TerminalContext, node_id: str) -> list[dict[str, Any]]:
    """What can run on a node, which looks again what is installed there; of one that cannot be asked, or does not know
    the question, what it told last."""
    from mosaicfs_core.errors import MosaicError

    try:
        found: list[dict[str, Any]] = context.api.send("POST", f"nodes/{node_id}/rescan")["items"]
    except MosaicError:
        found = context.api.get(f"nodes/{node_id}/status").get("available_plugins", [])
    return found


def installed_type(
    context: TerminalContext, node_id: str, name: str, told: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """``package``, which goes before a program of the same name, or the type of the program of that name on a node;
    ``told`` is ``installed_on`` where that is known. Raises ``NotFound`` with what may be meant when a node that told
    what is installed there does not have it."""
    from mosaicfs_core.errors import NotFound

    found = installed_on(context, node_id) if told is None else told
    installed = {str(plugin["name"]): str(plugin.get("type", "package")) for plugin in reversed(found)}
    if not installed or name in installed:
        return installed.get(name, "package")
    instances = {str(one["id"]) for one in context.api.get(f"nodes/{node_id}/plugins")["items"]}
    near = similar(name, installed.keys() | instances)
    hint = f"did you mean {near[0]}?" if near else f"installed are {', '.join(sorted(installed))}"
    raise NotFound(f"{node_id} has no plugin {name}, neither installed nor as an instance; {hint}")


def why_not_running(instance: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> str | None:
    """Why an instance as the API shows it cannot run, by what its node told is installed there (``installed_on``);
    None when nothing is in its way that is known."""
    package = str(instance.get("package") or instance.get("plugin_name"))
    kind = str(instance.get("plugin_type") or "package")
    for one in told:
        if (one["name"], one.get("type", "package")) == (package, kind):
            return str(one["error"]) if one.get("error") else None
    # A program that listens is there once it is started, a package unknown where nothing was told.
    return f"there is no program {package} in the plugin directories" if told and kind == "executable" else None


def tell(context: TerminalContext, answer: dict[str, Any], text: str) -> None:
    """Say in a sentence what was done, with the answer's warnings; with ``--json`` show the answer."""
    if context.json:
        context.show(answer)
        return
    context.say(text)
    for warning in answer.get("warnings", []):
        context.say(f"warning: {warning}")
