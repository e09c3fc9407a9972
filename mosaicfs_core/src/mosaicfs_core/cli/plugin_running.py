"""A package run as a program for one event, question or crawl, as ``mosaicfs plugin run`` does it.

What it is given, and what it answers, is what plugins of the type ``executable`` are given and answer: a JSON object on
standard input, one on standard output, file operations as lines of JSON.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from mosaicfs_core.cli.plugin_alone import AloneContext, load_alone, own_output
from mosaicfs_core.errors import MosaicError, PluginError, UserError
from mosaicfs_core.hooks import EVENTS, CrawlRequest, QueryRequest
from mosaicfs_core.hooks.wire import LINE_LIMIT, Envelope, operation_body
from mosaicfs_core.hooks.wire.payloads import event_of
from mosaicfs_core.plugins.running.in_process import STALL_S
from mosaicfs_core.plugins.settings import with_defaults

_INSTANCE: Final = "MOSAICFS_PLUGIN"
_NODE: Final = "MOSAICFS_NODE_ID"


def run_package(name: str) -> None:
    """Answer what is on standard input. Raises ``PluginError``, whatever is wrong: nobody but the host reads it."""
    with own_output() as output, _state_dir() as state_dir:
        try:
            run = _Run(name, sys.stdin.buffer.read(LINE_LIMIT + 1), state_dir)
            asyncio.run(run.answer(output))
        except PluginError:
            raise
        except MosaicError as error:
            raise PluginError(error.message, name, "") from error


class _Run:
    """One answer of one package."""

    def __init__(self, name: str, given: bytes, state_dir: Path) -> None:
        self._host, self._plugin = load_alone(name)
        self._body = _object(given)
        instance = os.environ.get(_INSTANCE, self._plugin.name)
        _log_of(instance)
        manifest = self._plugin.manifest
        config = with_defaults(manifest.settings_schema if manifest else None, self._body.get("config") or {})
        node_id = str(self._body.get("node_id") or os.environ.get(_NODE, ""))
        self._context = AloneContext(instance, self._plugin.name, node_id, config, state_dir)

    async def answer(self, output: BinaryIO) -> None:
        """Call the hook that the event is for, and print what it returns."""
        kind = self._body.get("event")
        if kind in EVENTS:
            output.write(msgspec.json.encode(await self._event()))
        elif kind == "query":
            output.write(msgspec.json.encode(await self._query()))
        elif kind == "crawl_requested":
            async for line in self._crawl():
                output.write(line)
        else:
            expected = ", ".join([*EVENTS, "query", "crawl_requested"])
            raise UserError(f"event: expected one of {expected}, got {kind!r}", field="event")

    async def _event(self) -> Mapping[str, Any]:
        envelope = _converted(self._body, Envelope)
        event = event_of(envelope.event, envelope.sequence or 0, envelope.timestamp, envelope.node_id, envelope.payload)
        self._context.give(event)
        answer: Mapping[str, Any] | None = await self._call("mosaicfs_file_event", event=event)
        return answer or {}

    async def _query(self) -> Any:
        request = _converted(self._body, QueryRequest)
        return await self._call("mosaicfs_query", timeout=request.timeout_s, request=request)

    async def _crawl(self) -> AsyncIterator[bytes]:
        request = _converted(_converted(self._body, Envelope).payload, CrawlRequest)
        items = self._host.iterate(
            self._plugin, "mosaicfs_crawl", stall_timeout=STALL_S, context=self._context, request=request
        )
        async with aclosing(items):
            async for item in items:
                for operation in item if isinstance(item, list | tuple) else (item,):
                    yield msgspec.json.encode(operation_body(operation)) + b"\n"

    async def _call(self, hook: str, timeout: float | None = None, **arguments: Any) -> Any:
        return await self._host.call(self._plugin, hook, timeout=timeout, context=self._context, **arguments)


def _object(given: bytes) -> Mapping[str, Any]:
    """What was given. Raises ``UserError``."""
    if len(given) > LINE_LIMIT:
        raise UserError(f"standard input has more than {LINE_LIMIT:,} bytes")
    try:
        body = msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"standard input is no JSON object: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("config") or {}, dict):
        raise UserError("standard input must be a JSON object, and config in it as well")
    return body


def _converted(body: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"standard input: {error}") from None


@contextmanager
def _state_dir() -> Iterator[Path]:
    """The directory that the host started this in, which is the instance's own; one that goes with us without it."""
    if _INSTANCE in os.environ:
        yield Path.cwd()
        return
    with tempfile.TemporaryDirectory(prefix="mosaicfs-plugin-") as directory:
        yield Path(directory)


def _log_of(instance: str) -> None:
    """Send what the instance logs to standard error. What the host logs of it is in the error that is raised."""
    logging.getLogger("mosaicfs").addHandler(logging.NullHandler())
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger(f"mosaicfs.plugins.{instance}")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
