"""Pins over the host's documents: what the routes do, without the web."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mosaicfs_core.hooks import Conflict, DocumentQuery, NotFound, Page, RoutesContext, Selection, UserError
from mosaicfs_plugins.pins import documents
from mosaicfs_plugins.pins.model import PinChange, PinFilter, PinTarget, Progress
from mosaicfs_plugins.pins.settings import MAX_PINS, PACKAGE

if TYPE_CHECKING:
    from mosaicfs_plugins.answers import Fresh

_BATCH: Final = 1000
_ATTEMPTS: Final = 10
NO_PIN: Final = "there is no such pin"
_CONTROL_PLANE: Final = "control-plane"

# The instances of all nodes by node id, as their documents are.
Instances = Mapping[str, dict[str, Any]]
# Nodes whose pins shall be others, with them.
Changes = Iterator[tuple[str, Sequence[documents.Pin]]]


class PinService:
    """Everything that can be asked of pins. Raises the errors of ``mosaicfs_core.hooks``."""

    def __init__(self, context: RoutesContext) -> None:
        self._context = context
        self._writing = asyncio.Lock()

    # Reading

    async def pins(self, wanted: PinFilter) -> tuple[Page[dict[str, Any]], Mapping[str, Any] | None]:
        """A page of pins with their progress, and the version of the one asked for by name."""
        instances = await self._instances()
        groups: dict[tuple[str, str], dict[str, documents.Pin]] = {}
        for node_id, document in instances.items():
            for pin in documents.pins_of(document):
                if wanted.name in (None, pin["name"]) and wanted.node_id in (None, node_id):
                    groups.setdefault((pin["name"], documents.definition(pin)), {})[node_id] = pin
        chosen = sorted(groups.items())[wanted.offset : wanted.offset + wanted.limit]
        statuses = {
            node_id: await self._context.node_status(node_id)
            for node_id in sorted({node_id for _, nodes in chosen for node_id in nodes})
        }
        items = [await self._shown(nodes, instances, statuses) for _, nodes in chosen]
        version = None if wanted.name is None else documents.version(wanted.name, _named(instances, wanted.name))
        return Page(items=tuple(items), total=len(groups), offset=wanted.offset, limit=wanted.limit), version

    async def _shown(
        self,
        nodes: Mapping[str, documents.Pin],
        instances: Instances,
        statuses: Mapping[str, Mapping[str, Any] | None],
    ) -> dict[str, Any]:
        pin = next(iter(nodes.values()))
        return {
            "name": pin["name"],
            "directory": pin.get("directory"),
            "steps": pin.get("steps") or [],
            "default_result": pin.get("default_result") or "include",
            "nodes": [
                await self._progress(node_id, pin["name"], instances[node_id], statuses[node_id])
                for node_id in sorted(nodes)
            ],
            "warnings": [],
        }

    async def _progress(
        self, node_id: str, name: str, document: Mapping[str, Any], status: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        node = await self._context.read_document(f"node::{node_id}") or {}
        body = {"node_id": node_id, "node_name": node.get("friendly_name") or node_id, "state": "unknown"}
        if not document.get("enabled", True) or document.get("paused"):
            return {**body, "state": "off"}
        if status is None:
            return body
        reports = status.get("subsystems", {}).get("instances", {}).get("reports", {})
        for told in reports.get(PACKAGE, {}).get("pins", ()):
            if told.get("name") == name:
                return _of_report({**body, **told, "updated_at": status.get("updated_at")}) or body
        return body

    # Writing

    async def put(self, change: PinChange, fresh: Fresh) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
        """Make a pin, or change what it holds or where: it is on exactly its nodes afterwards, or nothing changed."""
        pin = self._pin_of(change)
        selection = Selection(
            directory=change.directory, steps=tuple(change.steps or ()), default_result=change.default_result
        )
        warnings = list(await self._context.check_selection(selection))
        for number, node_id in enumerate(change.nodes):
            await self._check_node(node_id, f"nodes[{number}]")

        def changed(instances: Instances) -> Changes:
            for node_id in {*change.nodes, *_named(instances, change.name)}:
                pins = documents.pins_of(instances.get(node_id))
                made = documents.put(pins, pin) if node_id in change.nodes else documents.without(pins, change.name)
                if len(made) > MAX_PINS:
                    raise UserError(f"nodes: {node_id} has {MAX_PINS} pins already", field="nodes")
                yield node_id, made

        instances = await self._write(change.name, changed, fresh)
        for node_id in change.nodes:
            document = instances[node_id]
            if not document.get("enabled", True) or document.get("paused"):
                warnings.append(f"the plugin pins is switched off on {node_id}: nothing is kept there until it runs")
        page, version = await self.pins(PinFilter(name=change.name))
        return {**page.items[0], "warnings": warnings}, version

    async def remove(self, target: PinTarget, fresh: Fresh) -> dict[str, Any]:
        """Take a pin from one of its nodes or from all. Raises ``NotFound``."""
        removed: list[str] = []

        def changed(instances: Instances) -> Changes:
            removed[:] = [node_id for node_id in _named(instances, target.name) if target.node_id in (None, node_id)]
            if not removed:
                raise NotFound(NO_PIN)
            for node_id in removed:
                yield node_id, documents.without(documents.pins_of(instances[node_id]), target.name)

        await self._write(target.name, changed, fresh)
        return {"removed": target.name, "nodes": sorted(removed)}

    async def _write(self, name: str, changed: Callable[[Instances], Changes], fresh: Fresh) -> Instances:
        """Give instances other pins, all or none; the instances as they are then. A write that comes between is
        repeated upon."""
        async with self._writing:
            for attempt in range(_ATTEMPTS):
                instances = dict(await self._instances())
                fresh(documents.version(name, _named(instances, name)))
                made = {
                    node_id: documents.with_pins(instances.get(node_id), node_id, pins)
                    for node_id, pins in changed(instances)
                    if documents.pins_of(instances.get(node_id)) != pins or node_id not in instances
                }
                try:
                    if made:
                        await self._context.write_documents(list(made.values()))
                except Conflict:
                    if attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return {**instances, **made}
        raise AssertionError("the last attempt returns or raises")

    # Parts

    @staticmethod
    def _pin_of(change: PinChange) -> dict[str, Any]:
        if not change.name.isprintable() or change.name != change.name.strip():
            raise UserError("name: expected printable characters without blanks around them", field="name")
        if change.directory is None and not change.steps:
            raise UserError("directory: expected a virtual directory, steps, or both", field="directory")
        given = {"name": change.name, "directory": change.directory, "steps": change.steps}
        pin: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        return pin if change.default_result == "include" else {**pin, "default_result": change.default_result}

    async def _check_node(self, node_id: str, field: str) -> None:
        node = await self._context.read_document(f"node::{node_id}")
        if node is None:
            raise UserError(f"{field}: there is no node {node_id}", field=field)
        if node_id.startswith(_CONTROL_PLANE):
            raise UserError(f"{field}: {node_id} is a control plane, which keeps no files", field=field)

    async def _instances(self) -> Instances:
        found = {}
        async for document in self._all_plugins():
            if document["plugin_name"] == PACKAGE and (document.get("package") or PACKAGE) == PACKAGE:
                found[str(document["node_id"])] = document
        return found

    async def _all_plugins(self) -> AsyncIterator[dict[str, Any]]:
        offset = 0
        while True:
            page = await self._context.find_documents(DocumentQuery(type="plugin", limit=_BATCH, offset=offset))
            for document in page.items:
                yield document
            offset += len(page.items)
            if len(page.items) < _BATCH:
                return


def _of_report(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a node said of a pin, as far as it makes sense to us: it may be of another version."""
    try:
        progress = msgspec.convert(told, Progress)
    except msgspec.ValidationError:
        return None
    return dict(msgspec.to_builtins(progress))


def _named(instances: Instances, name: str) -> dict[str, documents.Pin]:
    """The pin of a name on each node that has it."""
    return {
        node_id: pin
        for node_id, document in instances.items()
        for pin in documents.pins_of(document)
        if pin["name"] == name
    }
