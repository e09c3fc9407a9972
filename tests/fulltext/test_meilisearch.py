"""Protects the Meilisearch backend: what it sends and takes is what Meilisearch's own description says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from fake_meilisearch import FakeMeilisearch

from mosaicfs_core.errors import PluginError


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeMeilisearch]:
    found = FakeMeilisearch()
    await found.start()
    yield found
    await found.stop()


def pointing(server: FakeMeilisearch, key: str = "master") -> dict[str, Any]:
    return {"backend": "meilisearch", "meilisearch_url": server.url, "meilisearch_key": key}


async def test_files_go_to_the_server_and_are_found_there(start: Any, server: FakeMeilisearch) -> None:
    async with start(pointing(server)) as instance:
        file = await instance.add("letter.txt", "Dear Grace, the compiler works.\nYours, Ada")
        await instance.add("other.txt", "nothing of the kind")
        await instance.settled()
        (hit,) = (await instance.envelope("compiler")).results
        assert hit.file_id == file.file_id
        assert hit.score == 0.9
        ((begin, end),) = hit.fragments[0].highlights
        assert hit.fragments[0].text[begin:end] == "compiler"
        assert "\n" not in hit.fragments[0].text
        assert server.indexes["mosaicfs"]["settings"]["filterableAttributes"] == ["id", "node_id", "status"]
        (document,) = (one for one in server.documents().values() if one["name"] == "letter.txt")
        assert document["file_id"] == file.file_id
        assert document["text"].startswith("Dear Grace")


async def test_changes_deletions_and_repetitions(start: Any, server: FakeMeilisearch) -> None:
    async with start(pointing(server)) as instance:
        file = await instance.add("a.txt", "first")
        await instance.tell("file.added", file)
        instance.write("a.txt", "second")
        await instance.tell("file.modified", file)
        moved = instance.record(instance.write("b.txt", "second"), file_id=file.file_id)
        await instance.tell("file.modified", moved, previous_export_path=file.export_path)
        assert [one["name"] for one in server.documents().values()] == ["b.txt"]
        assert len(await instance.names("second")) == 1
        for _ in range(2):
            await instance.tell("file.deleted", moved)
        assert server.documents() == {}


async def test_changes_that_wait_together_go_together(start: Any, server: FakeMeilisearch) -> None:
    async with start(pointing(server)) as instance:
        await asyncio.gather(*(instance.add(f"{number}.txt", f"word{number}") for number in range(100)))
        assert len(server.documents()) == 100
        assert server.requests.count("POST /indexes/mosaicfs/documents") <= 30


async def test_an_index_that_is_there_is_used(start: Any, server: FakeMeilisearch) -> None:
    for name in ("one.txt", "two.txt"):
        async with start(pointing(server)) as instance:
            await instance.add(name, "shared words")
    assert len(server.documents()) == 2


@pytest.mark.logs("API key is invalid")
async def test_a_wrong_key_is_told(start: Any, server: FakeMeilisearch) -> None:
    async with start(pointing(server, "wrong")) as instance:
        with pytest.raises(PluginError, match="The provided API key is invalid"):
            await instance.add("a.txt", "text")
        with pytest.raises(PluginError, match="The provided API key is invalid"):
            await instance.names("text")
        assert instance.harness.core.withdrawn == {"fulltext": {"search"}}


@pytest.mark.logs("cannot be reached")
async def test_a_server_that_is_down_is_told_and_found_again(start: Any, server: FakeMeilisearch) -> None:
    async with start(pointing(server)) as instance:
        await instance.add("a.txt", "before")
        await server.stop()
        with pytest.raises(PluginError, match="cannot be reached"):
            await instance.add("b.txt", "meanwhile")
        await server.start(int(server.url.rpartition(":")[2]))
        await instance.add("b.txt", "meanwhile")
        assert await instance.names("meanwhile") == ["b.txt"]


@pytest.mark.logs("Meilisearch refused documentAdditionOrUpdate")
async def test_a_document_that_the_server_refuses_fails_its_event(start: Any, server: FakeMeilisearch) -> None:
    server.failing = lambda document: "no room for it" if document["name"] == "bad.txt" else None
    async with start(pointing(server)) as instance:
        with pytest.raises(PluginError, match="no room for it"):
            await instance.add("bad.txt", "text")
        await instance.add("good.txt", "text")
        assert await instance.names("text") == ["good.txt"]


@pytest.mark.logs("does not answer as Meilisearch does", "Meilisearch: busy")
async def test_answers_that_are_none(start: Any, server: FakeMeilisearch) -> None:
    async with start(pointing(server)) as instance:
        await instance.add("a.txt", "text")
        server.answer_instead = web.Response(text="<html>It works!</html>")
        with pytest.raises(PluginError, match="does not answer as Meilisearch does"):
            await instance.names("text")
        server.answer_instead = web.json_response({"message": "busy"}, status=503)
        with pytest.raises(PluginError, match="Meilisearch: busy"):
            await instance.names("text")
        assert await instance.names("text") == ["a.txt"]


@pytest.mark.logs("does not answer as Meilisearch does")
async def test_an_answer_that_lacks_what_it_should_have_ends_one_event_alone(
    start: Any, server: FakeMeilisearch
) -> None:
    async with start(pointing(server)) as instance:
        await instance.add("a.txt", "text")
        server.answer_instead = web.json_response({})
        with pytest.raises(PluginError, match="does not answer as Meilisearch does"):
            await instance.add("b.txt", "text")
        server.answer_instead = web.json_response({})
        with pytest.raises(PluginError, match="does not answer as Meilisearch does"):
            await instance.names("text")
        await instance.add("b.txt", "text")
        assert sorted(await instance.names("text")) == ["a.txt", "b.txt"]


async def test_figures_and_odd_queries(start: Any, server: FakeMeilisearch) -> None:
    async with start(pointing(server)) as instance:
        await instance.add("a.txt", "text")
        await instance.add("broken.pdf", b"%PDF-1.4 broken")
        data = (await instance.widget())["data"]
        assert (data["backend"], data["documents"], data["with_text"], data["failures"]) == ("meilisearch", 2, 1, 1)
        assert (await instance.health()).status == "healthy"
        for query in ("", "   ", "\ud800", "a" * 10_000, '"', {"text": None}):
            await instance.names(query)


async def test_another_backend_is_filled_with_what_the_former_one_had(start: Any, server: FakeMeilisearch) -> None:
    async with start() as instance:
        first = await instance.known("a.txt", "shared text")
        second = await instance.known("b.txt", "shared text")
        for file in (first, second):
            await instance.tell("file.added", file)
        await instance.harness.instance("fulltext", pointing(server))
        await instance.refilled()
        assert len(await instance.names("shared")) == 2
        assert len(server.documents()) == 2
        await instance.tell("file.deleted", second)
        await instance.harness.store.update(
            f"file::{second.file_id.replace('.', '::')}", lambda present: {**(present or {}), "_deleted": True}
        )
        await instance.harness.instance("fulltext", {})
        await instance.refilled()
        assert await instance.names("shared") == [first.file_id]
        await instance.tell("file.deleted", first)
        await instance.harness.store.update(
            f"file::{first.file_id.replace('.', '::')}", lambda present: {**(present or {}), "_deleted": True}
        )
        await instance.harness.instance("fulltext", pointing(server))
        await instance.refilled()
        assert server.documents() == {}
