"""A node's first instances and watched folders, written at its request: it may ask for its own alone, and it cannot
change what is there but for adding folders, which are its own disk's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from mosaicfs_core.content.roots import may_be_path
from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.instances import instance_document, package_of
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import UserError
from mosaicfs_core.plugins.first_instances import (
    FACTS,
    FILESYSTEM,
    add_watched_folders,
    seed_instances,
    seeded_names,
    with_facts,
)
from mosaicfs_core.plugins.node_settings import RESERVED
from mosaicfs_core.plugins.schema_shape import structure_problem
from mosaicfs_core.store import Store
from mosaicfs_core.wording import in_words

MAX_INSTANCES: Final = 100
"""That a node is ever given at its own request."""
MAX_FOLDERS: Final = 1000
MAX_PATH: Final = 4096
"""Characters of a folder's path."""
MAX_SCHEMA: Final = 1 << 16
"""Bytes of the JSON of an instance's settings schema."""
InstanceName = Annotated[str, Meta(pattern=f"^{ids.INSTANCE_PATTERN}{END}")]


class SeedInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that a package asks for by default. Other fields of its document are the control plane's."""

    plugin_name: InstanceName
    package: InstanceName
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    settings_schema: dict[str, Any] | None = None
    watches: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    answers: Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=1000)] | None = None
    provides_filesystem: bool = False
    file_path_prefix: Annotated[str, Meta(pattern="^/", max_length=200)] | None = None


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """What a node asks for: ``instances`` are to be there, ``described`` says of such as are there what their packages
    are, which may be installed on that node alone."""

    instances: Annotated[tuple[SeedInstance, ...], Meta(max_length=MAX_INSTANCES)] = ()
    described: Annotated[tuple[SeedInstance, ...], Meta(max_length=MAX_INSTANCES)] = ()
    paths: Annotated[tuple[str, ...], Meta(max_length=100)] = ()


async def seed(store: Store, node_id: str, given: dict[str, Any]) -> dict[str, list[str]]:
    """Write what is new; the names of the instances that were made. One at a time for each node: what it was given is
    counted. Raises ``UserError``."""
    try:
        asked = msgspec.convert(given, Seed)
    except msgspec.ValidationError as error:
        field, problem = in_words(error, Seed)
        raise UserError(f"{field or 'the params'}: {problem}", field=field) from None
    named = (*asked.instances, *asked.described)
    for one in named:
        refuse_wrong(one)
    for number, folder in enumerate(asked.paths):
        refuse_no_folder(folder, f"paths.{number}")
    names = await seeded_names(store, node_id) | {one.plugin_name for one in asked.instances}
    if len(names) > MAX_INSTANCES:
        raise UserError(f"instances: a node may ask for {MAX_INSTANCES} of its own; make more here", field="instances")
    made = await seed_instances(store, node_id, [_document(node_id, one) for one in asked.instances], here=False)
    for one in named:  # a package that was upgraded may say other things of itself
        facts = {name: value for name in (*FACTS, *FILESYSTEM) if (value := getattr(one, name)) not in (None, False)}
        await store.update(ids.plugin_document_id(node_id, one.plugin_name), partial(_described, one.package, facts))
    if asked.paths:
        await add_watched_folders(store, node_id, asked.paths, most=MAX_FOLDERS)
    return {"made": made}


def refuse_wrong(given: SeedInstance) -> None:
    """Raise ``UserError`` for what a node may not say of an instance of its own."""
    if RESERVED in (given.plugin_name, given.package):
        raise UserError(f"{RESERVED} is the name of the node's own settings", field="instances")
    if given.settings_schema is None:
        return
    problem = structure_problem(given.settings_schema)
    if problem is not None:
        text = f"settings_schema: {given.plugin_name} has no schema of an object: {problem}"
        raise UserError(text, field="instances")
    if len(msgspec.json.encode(given.settings_schema)) > MAX_SCHEMA:
        raise UserError(f"settings_schema: at most {MAX_SCHEMA:,} bytes", field="instances")


def refuse_no_folder(folder: str, field: str) -> None:
    """Raise ``UserError`` for what can be no whole path of a folder of the node's."""
    if not folder.startswith("/") or len(folder) > MAX_PATH or not may_be_path(folder):
        raise UserError(f"{field}: expected the whole path of a folder", field=field)


def _described(package: str, facts: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any] | None:
    """The document with these facts; None when it is another package's, or a program's, or says them."""
    if present is None or package_of(present) != package or present.get("plugin_type", "package") != "package":
        return None
    return with_facts(facts, present)


def _document(node_id: str, asked: SeedInstance) -> dict[str, Any]:
    given = {key: value for key, value in msgspec.to_builtins(asked).items() if value not in (None, False)}
    return instance_document(node_id, asked.plugin_name, created_at=times.now_text()) | given
