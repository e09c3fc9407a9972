"""Protects summaries by a language model: what is sent and to whom, what it may cost, and what becomes of answers that
are none. The server is real, strict, and on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from chat_server import KEY, MODEL, ChatServer, chat_server
from pdfs import SENTENCES
from summarizing import Files

from mosaicfs_core.hooks import MosaicError, NotAllowed, Unavailable, UserError
from mosaicfs_plugins.summarize.spending import Spending

ENGLISH = SENTENCES["en"]


class Bed(Files):
    """A document, a server, and the settings that name it."""

    def __init__(self, path: Path, server: ChatServer) -> None:
        super().__init__(path)
        self.server = server
        self.write("river.txt", ENGLISH.encode())

    async def ask(self, name: str = "river.txt", **settings: Any) -> dict[str, Any]:
        """Have the document summarized."""
        given = {"endpoint": self.server.url, "model": MODEL, "api_key": KEY, **settings}
        found = await self.summarize(name, "text/plain", **given)
        assert found is not None
        return dict(found)


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with chat_server() as server:
        yield Bed(tmp_path, server)


async def test_the_model_writes_the_summary_and_is_named(bed: Bed) -> None:
    found = await bed.ask(max_sentences=4)
    assert (found["summary"], found["model"]) == ("A summary by a model.", f"{MODEL}-2026")
    assert (found["language"], found["page_count"]) == ("en", None)
    assert found["keywords"]
    (asked,) = bed.server.asked
    assert asked["max_tokens"] == 600
    system, user = asked["messages"]
    assert "at most 4 sentences" in system["content"]
    assert user["content"] == ENGLISH


async def test_no_more_is_sent_than_may_be(bed: Bed) -> None:
    await bed.ask(max_prompt_characters=500, max_answer_tokens=0)
    (asked,) = bed.server.asked
    assert asked["messages"][1]["content"] == ENGLISH[:500]
    assert "max_tokens" not in asked


async def test_what_stays_here_is_never_sent(bed: Bed) -> None:
    bed.write("blank.txt", b" \n")
    for name, settings in (
        ("river.txt", {"keep_local": ["river*"]}),
        ("river.txt", {"endpoint": ""}),
        ("blank.txt", {}),
    ):
        assert (await bed.ask(name, **settings))["model"] == "lexrank"
    assert bed.server.asked == []


async def test_a_day_has_so_many_requests_and_the_rest_is_done_here(bed: Bed) -> None:
    models = [(await bed.ask(max_requests_per_day=2))["model"] for _ in range(4)]
    assert models == [f"{MODEL}-2026"] * 2 + ["lexrank"] * 2
    assert len(bed.server.asked) == 2
    kept = bed.context.state_dir / "requests.json"
    kept.write_text(json.dumps({"day": "2020-01-01", "requests": 2}))
    assert (await bed.ask(max_requests_per_day=1))["model"] == f"{MODEL}-2026"
    kept.write_text("{")
    assert Spending(bed.context.state_dir).take(1)
    assert not Spending(bed.context.state_dir).take(1)
    assert Spending(bed.context.state_dir).take(0)


def answering(status: int, body: str, **headers: str) -> Any:
    async def reply(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    return reply


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (400, '{"error": {"message": "context length exceeded"}}', UserError, "answered 400: context length exceeded"),
        (401, '{"error": {"message": "bad key sk-test-key"}}', NotAllowed, "answered 401: bad key …"),
        (404, "<h1>Not  Found</h1>", UserError, "answered 404: <h1>Not Found</h1>"),
        (429, '{"error": "slow down"}', Unavailable, "answered 429: slow down"),
        (500, "", Unavailable, "answered 500: nothing"),
        (200, "not json", MosaicError, "cannot be understood"),
        (200, '{"choices": [{"message": {}}]}', MosaicError, "answered nothing"),
        (200, '{"choices": []}', MosaicError, "answered nothing"),
        (200, "[" * 100_000, MosaicError, "cannot be understood"),
        (200, "x" * (2 << 20), MosaicError, "more than 1,048,576 bytes"),
    ],
)
async def test_answers_that_are_none(bed: Bed, status: int, body: str, error: type[MosaicError], says: str) -> None:
    bed.server.reply = answering(status, body)
    with pytest.raises(error) as raised:
        await bed.ask()
    assert says in raised.value.message
    assert KEY not in raised.value.message


async def test_a_redirect_is_not_followed(bed: Bed) -> None:
    bed.server.reply = answering(307, "", Location=f"{bed.server.url}/chat/completions")
    with pytest.raises(UserError, match="answered 307"):
        await bed.ask()
    assert len(bed.server.asked) == 1


async def test_a_wrong_key_and_a_wrong_model_are_told_by_the_server(bed: Bed) -> None:
    with pytest.raises(NotAllowed, match="Incorrect API key"):
        await bed.ask(api_key="sk-other")
    with pytest.raises(UserError, match="does not exist"):
        await bed.ask(model="other")


async def test_a_server_that_is_slow_or_away(bed: Bed) -> None:
    ended = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        await ended.wait()
        return web.Response()

    bed.server.reply = never
    with pytest.raises(Unavailable, match="did not answer within 1 s"):
        await bed.ask(request_seconds=1)
    ended.set()
    with pytest.raises(Unavailable, match="cannot be asked"):
        await bed.ask(endpoint="http://127.0.0.1:9/v1")
