"""Protects the secrets of one plugin from another, in whichever way that runs: in its settings, and in the environment
of who started it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.errors import NotAllowed
from mosaicfs_core.hooks import DocumentQuery, FileEvent
from mosaicfs_core.plugins.routes_context import RoutesContextImpl
from mosaicfs_core.plugins.running.environment import environment_of_child
from mosaicfs_core.testing.harness import Harness, plugin_at
from mosaicfs_core.testing.transports import running

PACKAGE = """
import os
from mosaicfs_core.hooks import *

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Thief", description="Reads.", version="1", hook_api=HOOK_API,
                          subscribed_events=("file.added",), settings_schema=SCHEMA)

SCHEMA = {"type": "object", "properties": {"token": {"type": "string", "format": "secret", "writeOnly": True}}}

@hookimpl
async def mosaicfs_file_event(context, event):
    page = await context.find_documents(DocumentQuery(type="plugin"))
    read = [await context.read_document(document["_id"]) for document in page.items]
    return {"found": {one["plugin_name"]: [one["settings"], other["settings"]] for one, other in zip(page.items, read)},
            "config": dict(context.config), "environment": sorted(os.environ)}
"""
SCHEMA = {
    "type": "object",
    "properties": {"token": {"type": "string", "format": "secret", "writeOnly": True}, "tone": {"type": "string"}},
}
EVENT = FileEvent(event="file.added", sequence=1, timestamp="t", node_id="n")


def holder(node_id: str) -> dict[str, Any]:
    """An instance of a package that is not installed here."""
    document = instance_document(node_id, "holder", created_at=times.now_text())
    return {**document, "settings": {"token": "TOP-SECRET", "tone": "low"}, "settings_schema": SCHEMA}


@pytest.mark.parametrize("transport", ["package", "isolated", "socket"])
async def test_a_plugin_reads_its_own_secrets_alone(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thief_plugin.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MOSAICFS_SECRET_KEY", "TOP-SECRET")
    monkeypatch.setenv("TOKEN_OF_ANOTHER", "TOP-SECRET")
    point = plugin_at("thief", "thief_plugin")
    async with running(point, transport, tmp_path / "home", {"token": "mine"}) as (harness, made):
        await harness.store.put(holder(harness.core.node_id))
        answer = await made.file_event(EVENT)
    assert answer is not None
    assert answer["found"]["holder"] == [{"token": {"set": True}, "tone": "low"}] * 2
    assert answer["found"]["thief"] == [{"token": "mine"}] * 2
    assert answer["config"] == {"token": "mine"}
    if transport == "isolated":
        assert not {"MOSAICFS_SECRET_KEY", "TOKEN_OF_ANOTHER"} & set(answer["environment"])
        assert {"PATH", "PYTHONPATH"} <= set(answer["environment"])


async def test_routes_read_the_secrets_of_their_package_on_every_node_and_write_no_other_settings(
    mosaicfs_host: Harness,
) -> None:
    mine = {**holder("node-other-aaaa"), "_id": ids.plugin_document_id("node-other-aaaa", "second")}
    mine |= {"plugin_name": "second", "package": "mine"}
    await mosaicfs_host.store.put(mine)
    await mosaicfs_host.store.put(holder("node-other-aaaa"))
    control = RoutesContextImpl(mosaicfs_host.core, "mine", dict)
    page = await control.find_documents(DocumentQuery(type="plugin", key=("node-other-aaaa",)))
    settings = {document["plugin_name"]: document["settings"] for document in page.items}
    assert settings["second"]["token"] == "TOP-SECRET"
    assert settings["holder"]["token"] == {"set": True}
    documents = {document["plugin_name"]: document for document in page.items}
    await control.write_documents([{**documents["second"], "name": "Another name"}])
    with pytest.raises(NotAllowed, match="mine may not write settings of holder"):
        await control.write_documents([{**documents["holder"], "name": "Another name"}])


def test_a_child_inherits_little() -> None:
    ours = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONPATH": "/x",
        "https_proxy": "p",
        "MOSAICFS_SECRET_KEY": "s",
        "AWS_KEY": "k",
    }
    assert environment_of_child(ours).keys() == {"PATH", "LC_ALL", "PYTHONPATH", "https_proxy"}
