"""Protects that the user is told of plugins that are installed and cannot be used, and no longer than that is so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.testing.harness import Harness, plugin_at

BROKEN = plugin_at("broken", "no_such_module_at_all")


def told(harness: Harness) -> Mapping[str, Any]:
    key = ids.notification_document_id(harness.core.node_id, "plugin_failed:broken")
    return harness.store.reader.get(key) or {}


@pytest.mark.logs("plugin broken cannot be used")
async def test_one_that_does_not_load_is_told_of_until_it_does_or_is_gone(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[BROKEN]) as harness, harness.agent():
        assert (told(harness)["status"], told(harness)["severity"]) == ("active", "error")
        assert "No module named 'no_such_module_at_all'" in told(harness)["message"]
        first = told(harness)
    async with Harness.start(tmp_path / "home", plugins=[BROKEN]) as harness, harness.agent():
        assert told(harness)["occurrence_count"] == first["occurrence_count"]
    async with Harness.start(tmp_path / "home", plugins=[]) as harness, harness.agent():
        assert told(harness)["status"] == "resolved"


async def test_the_status_names_instances_whose_package_is_gone(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[]) as harness:
        document = instance_document(harness.core.node_id, "mail", created_at="2026-01-01T00:00:00.000000Z")
        await harness.store.put(document)
        async with harness.agent() as agent:
            part = agent.status()["subsystems"]["plugins"]
            assert (part["status"], part["missing"]) == ("degraded", ["mail"])
            await harness.store.update(document["_id"], lambda there: {**(there or {}), "enabled": False})
            async with asyncio.timeout(20):
                while agent.status()["subsystems"]["plugins"]["missing"]:
                    await harness.store.wait(harness.store.seq, 0.1)
