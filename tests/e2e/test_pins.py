"""Pinned on the control plane, fetched by the laptop from the desktop, read on the plane: as real processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_many_machines import Host, enrol


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """A control plane's host and two others."""
    made = [Host(tmp_path / name) for name in ("nas", "laptop", "desktop")]
    yield made
    for host in made:
        if host.process is not None and host.process.poll() is None:
            host.end(signal.SIGKILL)


def test_there_on_the_plane(hosts: list[Host], eventually: Any) -> None:
    nas, laptop, desktop = hosts
    film = os.urandom(3 << 20)
    (desktop.tree / "trip").mkdir()
    (desktop.tree / "trip" / "film.mp4").write_bytes(film)
    (desktop.tree / "other.txt").write_text("stays at home")
    url = nas.start("server", "run", "--port", "0")["url"]
    laptop_id, _ = enrol(laptop, nas, url), enrol(desktop, nas, url)
    for host in (desktop, laptop):
        host.start("agent", "run", str(host.tree))
    eventually(lambda: laptop.run("files", "search", "*.mp4")["items"])

    nas.run("vfs", "mkdir", "/holiday")
    assert laptop.run("pins", "add", "/holiday", code=4)["error"]["code"] == "not_allowed"
    assert "--node" in nas.run("pins", "add", "/holiday", code=2)["error"]["message"]
    made = nas.run("pins", "add", "/holiday", "--node", laptop_id, "--glob", "**/*.mp4")
    assert made["nodes"][0]["node_id"] == laptop_id
    mounts = desktop.home.parent / "mounts.json"
    mounts.write_text(json.dumps([{"source": {"node_id": "*", "export_path": str(desktop.tree / "trip")}}]))
    nas.run("vfs", "edit", "/holiday", "--file", str(mounts))

    def there() -> bool:
        (pin,) = laptop.run("pins", "list")["items"] or [{"nodes": [{"state": ""}]}]
        return pin["nodes"][0]["state"] == "complete" and pin["nodes"][0].get("files_present") == 1

    eventually(there, 60)
    assert (desktop.end(), nas.end()) == (0, 0)
    target = laptop.home.parent / "watched"
    (found,) = laptop.run("files", "search", "*.mp4")["items"]
    laptop.run("files", "fetch", found["id"], "-o", str(target))
    assert target.read_bytes() == film
    (missing,) = laptop.run("files", "search", "other.txt")["items"]
    laptop.run("files", "fetch", missing["id"], "-o", str(target.with_name("missing")), code=1)
    assert laptop.end(signal.SIGKILL) != 0
    laptop.start("agent", "run")
    target.unlink()
    laptop.run("files", "fetch", found["id"], "-o", str(target))
    assert target.read_bytes() == film
    eventually(there, 60)
    assert laptop.end() == 0
