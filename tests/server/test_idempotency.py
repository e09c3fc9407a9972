"""Protects against doing things twice: a POST repeated with its key is answered as before, whoever serves it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points
from quart import Blueprint

from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing import Harness, plugin_at


class Counting:
    """A stranger's plugin that counts what reaches it, with a view that is a plain function."""

    @hookimpl
    def mosaicfs_manifest(self) -> PluginManifest:
        return PluginManifest(title="Counting", description="Counts.", version="1", hook_api=HOOK_API)

    @hookimpl
    def mosaicfs_routes(self) -> Sequence[Blueprint]:
        blueprint = Blueprint("counting", __name__)
        numbers = itertools.count(1)

        @blueprint.route("/next", methods=["GET", "POST"])
        def count() -> dict[str, int]:
            return {"number": next(numbers)}

        @blueprint.post("/bytes")
        def content() -> bytes:
            return b"%d" % next(numbers)

        return [blueprint]


counting = Counting()


@pytest.fixture
async def ask(tmp_path: Path) -> Any:
    """``await ask(method, path, key, body)``: the decoded answer's status, body and headers."""
    plugins = [plugin_at("counting", f"{__name__}:counting"), *entry_points(group="mosaicfs", name="vfs")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness, running_app(harness.core) as app:
        token = app.extensions[EXTENSION].local_token

        async def asked(method: str, path: str, key: str | None = None, body: Any = None) -> tuple[int, Any, Any]:
            headers = {"Authorization": f"Bearer {token}", **({"Idempotency-Key": key} if key else {})}
            answer = await app.test_client().open(
                f"/api/{path}",
                method=method,
                headers=headers,
                scope_base={"client": ("127.0.0.1", 50000)},
                **({} if body is None else {"json": body}),
            )
            return answer.status_code, await answer.get_json(force=True), answer.headers

        yield asked


async def test_a_strangers_view_is_reached_once(ask: Any) -> None:
    first = await ask("POST", "x/counting/next", "one")
    again = await ask("POST", "x/counting/next", "one")
    assert (first[:2], again[:2]) == ((200, {"number": 1}), (200, {"number": 1}))
    assert ("Idempotency-Replayed" in first[2], again[2]["Idempotency-Replayed"]) == (False, "true")
    assert (await ask("POST", "x/counting/next", "two"))[1] == {"number": 2}
    assert (await ask("POST", "x/counting/next"))[1] == {"number": 3}
    assert (await ask("GET", "x/counting/next", "one"))[1] == {"number": 4}
    assert (await ask("POST", "x/counting/next?other=1", "one"))[0] == 409


async def test_only_json_is_kept(ask: Any) -> None:
    assert [(await ask("POST", "x/counting/bytes", "one"))[1] for _ in range(2)] == [1, 2]


async def test_the_tree_makes_a_directory_once(ask: Any) -> None:
    first = await ask("POST", "vfs/directories", "one", {"path": "/mine"})
    again = await ask("POST", "vfs/directories", "one", {"path": "/mine"})
    assert (first[0], again[0]) == (201, 201)
    assert first[1] == again[1]
    assert first[2]["ETag"] == again[2]["ETag"]
    assert (await ask("POST", "vfs/directories", "two", {"path": "/mine"}))[0] == 409


async def test_the_description_says_so(ask: Any) -> None:
    _, description, _ = await ask("GET", "openapi.json")
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            takes = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
            assert takes == (method == "post" and operation["security"] != []), (method, path)
