"""A server of language models on loopback, strict about what it is asked: what OpenAI's description of
``POST /chat/completions`` does not allow is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

KEY: Final = "sk-test-key"
MODEL: Final = "small-1"
_ROLES: Final = {"system", "user", "assistant"}


class ChatServer:
    """``asked`` are the requests that it accepted; ``reply`` may be replaced by something that fails."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.url = ""
        self.reply: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._reply

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Check a request and answer it."""
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, f"Incorrect API key provided: {request.headers.get('Authorization')}")
        problem = _problem(request, body := json.loads(await request.text()))
        if problem is not None:
            return _error(400, problem)
        self.asked.append(body)
        return await self.reply(request)

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        message = {"role": "assistant", "content": "  A summary by a model. ", "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_771_200_000, "model": f"{MODEL}-2026"}
        return web.json_response(body | {"choices": [choice], "usage": usage})


def _problem(request: web.Request, body: Any) -> str | None:
    """What is wrong with a request, as such a server would say it."""
    if request.content_type != "application/json":
        return "expected application/json"
    if unknown := body.keys() - {"model", "messages", "max_tokens", "temperature", "stream"}:
        return f"Unrecognized request argument supplied: {min(unknown)}"
    if body.get("model") != MODEL:
        return f"The model `{body.get('model')}` does not exist"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "'messages' must not be empty"
    for message in messages:
        if message.keys() != {"role", "content"} or message["role"] not in _ROLES:
            return f"Invalid message: {message}"
        if not isinstance(message["content"], str) or not message["content"]:
            return "'content' must be a non-empty string"
    tokens = body.get("max_tokens", 1)
    return None if isinstance(tokens, int) and tokens > 0 else "'max_tokens' must be a positive integer"


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)


@asynccontextmanager
async def chat_server() -> AsyncIterator[ChatServer]:
    """The server, listening; ``url`` ends in ``/v1``."""
    server = ChatServer()
    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/v1"
        yield server
    finally:
        await runner.cleanup()
