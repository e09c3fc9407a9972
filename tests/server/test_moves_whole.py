"""Labels follow moves with everything running: the agent that notices them, the API, and the tree that shows labels."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing.harness import Harness

PATIENCE_S = 20.0
LOCAL = {"client": ("127.0.0.1", 50000)}


class Machine:
    """A whole instance over a tree, asked through its API."""

    def __init__(self, harness: Harness, client: Any, token: str) -> None:
        self.harness = harness
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, **given: Any) -> Any:
        """The decoded answer."""
        answer = await self._client.open(
            f"/api/{path}", method=method, headers=self._headers, scope_base=LOCAL, **given
        )
        assert answer.status_code < 300, await answer.get_data()
        return await answer.get_json()

    async def label(self, path: str, label: str) -> None:
        """Put a label on a file."""
        await self.ask(
            "PUT",
            "labels/assignments",
            json={"node_id": self.harness.core.node_id, "export_path": path, "add": [label]},
        )

    async def show_label(self, tree: Path, label: str) -> None:
        """Make the directory ``/marked`` of the files with a label."""
        mount = {
            "source": {"node_id": "*", "export_path": str(tree)},
            "strategy": "flatten",
            "steps": [{"op": "label", "labels": [label], "on_match": "include"}],
            "default_result": "exclude",
        }
        await self.ask("POST", "vfs/directories", json={"path": f"/{label}", "mounts": [mount]})

    async def shown(self, path: str) -> list[str]:
        """The names in a virtual directory."""
        return [entry["name"] for entry in (await self.ask("GET", f"vfs?path={path}"))["items"]]

    async def until(self, path: str, names: list[str]) -> None:
        """Wait until a virtual directory shows just these."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.shown(path) != names:
                    await self.harness.store.wait(self.harness.store.seq, 0.2)
        except TimeoutError:
            raise AssertionError(f"{path} shows {await self.shown(path)}, not {names}") from None


@asynccontextmanager
async def machine(home: Path, tree: Path) -> AsyncIterator[Machine]:
    """Everything over a home and a watched tree."""
    async with Harness.start(home) as harness:
        await harness.instance("localfs", {"paths": [str(tree)]})
        async with running_app(harness.core) as app, app.test_app() as served, harness.agent() as agent:
            await agent.first_crawl_done.wait()
            yield Machine(harness, served.test_client(), app.extensions[EXTENSION].local_token)


async def test_labels_follow_renames_into_a_filtered_directory(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.txt").write_text("a")
    (tree / "sub/deep.txt").write_text("deep")
    (tree / "other.txt").write_text("other")
    async with machine(tmp_path / "home", tree) as there:
        await there.label(f"{tree}/a.txt", "marked")
        await there.label(f"{tree}/sub/deep.txt", "marked")
        await there.show_label(tree, "marked")
        await there.until("/marked", ["a.txt", "deep.txt"])
        os.rename(tree / "a.txt", tree / "sub/b.txt")
        await there.until("/marked", ["b.txt", "deep.txt"])
        os.rename(tree / "sub", tree / "elsewhere")
        os.rename(tree / "elsewhere/b.txt", tree / "elsewhere/c.txt")
        await there.until("/marked", ["c.txt", "deep.txt"])
        assert there.harness.core.failing == {}


async def test_what_moved_while_nothing_ran_keeps_its_labels(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("a")
    async with machine(tmp_path / "home", tree) as there:
        await there.label(f"{tree}/a.txt", "marked")
        await there.show_label(tree, "marked")
        await there.until("/marked", ["a.txt"])
    (tree / "d").mkdir()
    os.rename(tree / "a.txt", tree / "d/b.txt")
    async with machine(tmp_path / "home", tree) as there:
        await there.until("/marked", ["b.txt"])
