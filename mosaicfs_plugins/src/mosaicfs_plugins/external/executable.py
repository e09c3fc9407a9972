"""Plugins of the type ``executable``: one process for each event, question or crawl."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import msgspec

from mosaicfs_core.hooks import (
    CrawlRequest,
    FileEvent,
    FileOperation,
    HealthReport,
    KindContext,
    PluginError,
    Program,
    QueryRequest,
    ResultEnvelope,
    Unavailable,
    UserError,
    hooks_asked,
    now_text,
)
from mosaicfs_core.hooks.wire import ANNOTATION_LIMIT, Envelope, crawl_payload, event_envelope
from mosaicfs_plugins.external.crawling import Crawl
from mosaicfs_plugins.external.execution import Execution, Outcome
from mosaicfs_plugins.external.lifeline import Groups, Lifeline
from mosaicfs_plugins.external.programs import Finder, Found, find_program, names_in

LOOK_S: Final = 2.0
"""How often a program is looked at that may have come, gone or been changed."""
_CRAWL_TIMEOUT_S: Final = 3600.0
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_AT_ONCE: Final = 64
"""Threads for runs, made as they are needed: the instance's workers and whoever asks questions wait in them."""


class ExecutableKind:
    """Programs in the plugin directories."""

    name = "executable"

    def __init__(self) -> None:
        self._lifeline = Lifeline()

    def programs(self, plugin_dirs: Sequence[Path], socket_dir: Path) -> Sequence[Program]:
        """Everything that lies there."""
        names = {name for directory in plugin_dirs for name in names_in(directory)}
        return [
            Program(name=name, plugin_type=self.name, problem=find_program(name, plugin_dirs).problem)
            for name in sorted(names)
        ]

    def run(self, context: KindContext) -> Executable:
        """An instance of the program that the context names."""
        return Executable(context, self._lifeline)


class Executable:
    """A ``RunningPlugin`` that is a new process each time."""

    def __init__(self, context: KindContext, lifeline: Lifeline) -> None:
        self._context, self._lifeline = context, lifeline
        self._name = context.plugin.instance
        self._environment = self._least() | lifeline.environment
        self._groups: Groups | None = None
        self._finder = Finder(context.package, context.plugin_dirs)
        self._problem = self._finder.find().problem
        self._looking: asyncio.Task[None] | None = None
        # Its own: programs take their time, and in the loop's few threads files are read and hashed.
        self._threads = ThreadPoolExecutor(_AT_ONCE, f"run {self._name}")

    @property
    def hooks(self) -> frozenset[str]:
        """What its document asks for."""
        return hooks_asked(self._context.document)

    @property
    def problem(self) -> str | None:
        """Why it cannot be run, as of the last look."""
        return self._problem

    @property
    def window(self) -> int | None:
        """As many as there are workers."""
        return None

    async def start(self) -> None:
        """Look at the program now and then; from now on it may be run."""
        self._groups = await self._lifeline.hold()
        self._looking = asyncio.create_task(self._look(), name=f"look at {self._name}")

    async def stop(self) -> None:
        """Look no longer. What is running is ended by whoever waits for it."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        self._threads.shutdown(wait=False)
        if self._groups is not None:
            self._groups = None
            await self._lifeline.release()

    def configure(self) -> None:
        """Every run gets the settings of its moment."""

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._find()

    def _find(self) -> None:
        self._noticed(self._finder.find())

    def _noticed(self, found: Found) -> None:
        if found.problem != self._problem:
            self._problem = found.problem
            self._context.changed()

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Run it for the event; a non-empty object that it prints is the annotation."""
        envelope = event_envelope(event, self._context.plugin.config)
        hook = "mosaicfs_file_event"
        answer = await self._answer(hook, envelope, self._context.timeout_s)
        if len(msgspec.json.encode(answer)) > ANNOTATION_LIMIT:
            raise self._failed(hook, f"it printed an annotation of more than {ANNOTATION_LIMIT:,} bytes")
        return answer or None

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Run it for the question."""
        given = {"event": "query", **msgspec.to_builtins(request), "config": self._context.plugin.config}
        hook = "mosaicfs_query"
        answer = await self._answer(hook, given, request.timeout_s)
        try:
            return msgspec.convert(answer, ResultEnvelope)
        except msgspec.ValidationError as error:
            raise self._failed(hook, f"it answered wrongly: {error}") from None

    async def health(self) -> HealthReport:
        """It is as it is found: each run is a new process."""
        problem = self._problem
        return HealthReport() if problem is None else HealthReport(status="unhealthy", detail=problem)

    async def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Run it for a crawl; it prints ``{"files": […]}`` or an operation on each line, taken as they come."""
        hook = "mosaicfs_crawl"
        envelope = Envelope(
            event="crawl_requested",
            timestamp=now_text(),
            node_id=self._context.plugin.node_id,
            payload=crawl_payload(request),
            config=self._context.plugin.config,
        )
        crawl = Crawl()
        running = self._run(hook, envelope, _CRAWL_TIMEOUT_S, crawl)
        try:
            async with aclosing(crawl.operations(running)) as batches:
                async for batch in batches:
                    yield batch
        except UserError as error:
            raise self._failed(hook, f"it printed no list of files: {error}") from None

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Never: a program that is run for one event at a time cannot watch."""
        raise self._failed("mosaicfs_watch", "it cannot watch; use a plugin of the type socket")

    async def run(self) -> None:
        """Never."""
        raise self._failed("mosaicfs_run", "it cannot work in the background; use a plugin of the type socket")

    async def _answer(self, hook: str, given: Any, timeout_s: float) -> dict[str, Any]:
        outcome = await self._run(hook, given, timeout_s)
        try:
            answer = msgspec.json.decode(outcome.output)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            shown = outcome.output[:80].decode("utf-8", "replace").strip() or "nothing"
            raise self._failed(hook, f"it printed no JSON ({error}): {shown}", outcome) from None
        if not isinstance(answer, dict):
            raise self._failed(hook, f"it printed {type(answer).__name__}, not an object", outcome)
        return answer

    async def _run(self, hook: str, given: Any, timeout_s: float, crawl: Crawl | None = None) -> Outcome:
        """Run it once; what it prints goes to ``crawl`` if there is one. Raises ``PluginError``, ``Unavailable``, and
        the crawl's ``UserError``."""
        if self._groups is None:
            raise Unavailable(f"plugin {self._name}: it is not started")
        execution = Execution(self._environment, self._groups)
        said = msgspec.json.encode(given, enc_hook=str)

        def find_and_run() -> tuple[Found, Outcome | None]:
            found = self._finder.find()
            if found.path is None:
                return found, None
            take = None if crawl is None else crawl.take
            outcome = execution.run(found.path, self._context.plugin.state_dir, said, timeout_s, take)
            if crawl is not None:
                crawl.end(complete=outcome.problem is None and outcome.code == 0)
            return found, outcome

        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, find_and_run)
        except RuntimeError as error:
            raise Unavailable(f"plugin {self._name}: it was stopped") from error
        try:
            found, outcome = await asyncio.shield(running)
        except asyncio.CancelledError:
            execution.kill()
            await asyncio.gather(running, return_exceptions=True)
            raise
        except OSError as error:
            raise self._failed(hook, f"it cannot be started: {error.strerror}") from None
        self._noticed(found)
        if outcome is None:
            raise Unavailable(f"plugin {self._name}: {found.problem}")
        if outcome.problem is not None:
            raise self._failed(hook, f"it {outcome.problem}", outcome)
        if outcome.code != 0:
            raise self._failed(hook, f"it ended with {_ended(outcome.code)}", outcome)
        return outcome

    def _least(self) -> dict[str, str]:
        """As little as programs can do with: nothing of the host's own settings and secrets."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return passed | {"MOSAICFS_PLUGIN": self._name, "MOSAICFS_NODE_ID": self._context.plugin.node_id}

    def _failed(self, hook: str, what: str, outcome: Outcome | None = None) -> PluginError:
        said = f"; it said: {outcome.errors}" if outcome is not None and outcome.errors else ""
        return PluginError(f"plugin {self._name}: {hook} failed: {what}{said}", self._name, hook)


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
