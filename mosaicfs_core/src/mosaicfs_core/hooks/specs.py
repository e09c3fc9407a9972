"""Hook specifications. A hook lands with its first user; ``HOOK_API`` counts the changes a plugin could notice.

Hooks that register things are plain functions, called at start, those of other people's packages in a thread without an
event loop. Hooks that do work are coroutines or async generators and run under the host's dispatcher, which adds a time
limit, captures errors and names the plugin.
"""

# The bodies of hooks are the plugins'.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pluggy

from mosaicfs_core.hooks.queries import Endpoint

if TYPE_CHECKING:
    import click
    import quart

    from mosaicfs_core.hooks.context import CommandContext, PluginContext, RoutesContext
    from mosaicfs_core.hooks.events import FileEvent
    from mosaicfs_core.hooks.health import HealthReport
    from mosaicfs_core.hooks.hub import Hub, HubAddress
    from mosaicfs_core.hooks.kinds import PluginKind
    from mosaicfs_core.hooks.operations import CrawlRequest, FileOperation
    from mosaicfs_core.hooks.queries import QueryRequest, ResultEnvelope

HOOK_API: Final = 1
ENTRY_POINT_GROUP: Final = "mosaicfs"

hookspec = pluggy.HookspecMarker("mosaicfs")
hookimpl = pluggy.HookimplMarker("mosaicfs")


class PluginManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a package says of itself, read at discovery.

    ``hook_api`` is the ``HOOK_API`` it was written against. ``default_enabled`` asks for an instance on every agent at
    first start. ``settings_schema`` is a JSON Schema (object) of the instance's settings; secrets are
    ``{"type": "string", "format": "secret", "writeOnly": true}``. ``poll_interval_s`` repeats the crawl.
    ``reports_exclusions`` says that the crawl obeys ``CrawlRequest.report``; others are never asked for a report.
    ``watches`` names the setting (a list of paths) that holds the folders of the machine which it indexes in place: it
    names files there alone, their files may be opened, they get a place in the tree, and ``mosaicfs up FOLDER`` adds to
    it. A package that crawls or follows files needs this or ``provides_filesystem``.
    ``available`` False says honestly that the package does nothing yet; it cannot be switched on.

    ``subscribed_events`` (names of ``mosaicfs_core.hooks.EVENTS``) and ``mime_globs`` (``application/pdf``, ``text/*``;
    empty: every file) are what a new instance is told of; an instance's document may say otherwise. ``workers`` is how
    many events it is given at once. ``reprocess_on_new_version`` has a full sync process every file again once
    ``version`` changed. ``queries`` are the questions it answers. ``isolate`` asks for a process of its own (True) or
    for the host's (False); None leaves it to the host, which isolates what is not first-party.
    ``health_check_interval_s`` is how often ``mosaicfs_health`` is asked.
    """

    title: str
    description: str
    version: str
    hook_api: int
    default_enabled: bool = False
    settings_schema: Mapping[str, Any] | None = None
    poll_interval_s: float | None = None
    provides_filesystem: bool = False
    reports_exclusions: bool = False
    watches: str | None = None
    available: bool = True
    subscribed_events: tuple[str, ...] = ()
    mime_globs: tuple[str, ...] = ()
    workers: int = 2
    reprocess_on_new_version: bool = False
    queries: tuple[Endpoint, ...] = ()
    isolate: bool | None = None
    health_check_interval_s: float = 300


class StepOp(msgspec.Struct, frozen=True, kw_only=True):
    """A filter-step op added by a plugin.

    ``compile`` gets the step's own fields (without ``op``, ``invert``, ``on_match``, ``on_no_match``) once and returns
    a pure predicate over file facts, which answers True or False at once: an op that raises, answers anything else or
    takes seconds is reported, and its step skipped; one that never returns is left behind in its thread. It raises
    ``UserError`` naming the field when they are wrong. The facts are a ``mosaicfs_core.rules.FileFacts``: ``node_id``,
    ``export_path``, ``name``, ``size``, ``mtime`` (microseconds), ``mime_type``. ``fields`` is a JSON Schema (object)
    of the step's fields, for editors and documentation.
    """

    name: str
    description: str
    compile: Callable[[Mapping[str, Any]], Callable[[Any], bool]]
    fields: Mapping[str, Any] = {}


@hookspec
def mosaicfs_manifest() -> PluginManifest:
    """Describe the plugin. Called once at discovery, before any other hook; must be quick and free of I/O."""


@hookspec
def mosaicfs_crawl(
    context: PluginContext, request: CrawlRequest
) -> AsyncIterator[FileOperation | Sequence[FileOperation]]:
    """Name the files this instance provides. An async generator; it may yield operations singly or in sequences.

    Called at start, every ``poll_interval_s``, nightly (``full``), on request and after a reconnect, never twice at
    once for one instance; only a ``report``, which indexes nothing, may run beside. Cancellation arrives at a
    ``yield``. Raising ends the crawl: what was yielded stands, nothing is deleted by silence, the next crawl starts
    over.
    """


@hookspec
def mosaicfs_watch(
    context: PluginContext, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]
) -> Awaitable[None]:
    """Follow changes until cancelled: a coroutine that awaits ``emit`` with operations as they happen.

    Started once per instance, before its first crawl, so that nothing falls between the two: the crawl waits (10 s at
    most) for the first call of ``emit``, so emit an empty sequence once changes are being noticed. What is said of a
    path while a crawl runs stands: what the crawl lists of it may be older. Restarted with back-off when it raises or
    returns, and followed by a crawl that waits in the same way.
    """


@hookspec
def mosaicfs_run(context: PluginContext) -> Awaitable[None]:
    """Work in the background for as long as the instance is switched on: a coroutine that runs until it is cancelled.

    Started once per instance when the agent starts or the instance is switched on; ended and started again when its
    settings change, so keep in ``state_dir`` (or find again) what must outlive that. Restarted with back-off when it
    raises or returns; the node's status names the reason meanwhile. It has no time limit and must not block the loop.
    """


@hookspec
def mosaicfs_file_event(context: PluginContext, event: FileEvent) -> Awaitable[Mapping[str, Any] | None]:
    """Take note of an event from the job queue; an object that is returned becomes the file's annotation.

    Called for the events and files that the instance subscribes to, ``workers`` at once, never two for one file. None
    or an empty object leaves nothing to write. Raising (or taking longer than the instance's ``timeout_s``) is a failed
    attempt: the event comes again later, ``max_attempts`` times in all. Raising ``Unavailable`` (what is needed is not
    there at present) is none for about a day. The answer and the end of the job are stored in one transaction, so after
    a crash an event may come again whose answer was lost: be idempotent.
    """


@hookspec
def mosaicfs_query(context: PluginContext, request: QueryRequest) -> Awaitable[ResultEnvelope]:
    """Answer a question of the manifest's ``queries`` within ``request.timeout_s``; later answers are left out."""


@hookspec
def mosaicfs_health(context: PluginContext) -> Awaitable[HealthReport]:
    """Say how the instance is. Called every ``health_check_interval_s``, within its ``timeout_s``."""


@hookspec
def mosaicfs_plugin_kinds() -> Sequence[PluginKind]:
    """Ways to run a plugin besides ``package``, each a ``plugin_type``. Called at start, and again whenever other
    plugins are found installed than before."""


@hookspec
def mosaicfs_step_ops() -> Sequence[StepOp]:
    """Filter-step ops to add, by name. Called once in every process that evaluates steps, the mount included."""


@hookspec
def mosaicfs_routes(app: quart.Quart, context: RoutesContext) -> Sequence[quart.Blueprint]:
    """Blueprints to serve under ``/api/x/{plugin}`` (first-party ones where the API documentation puts them).

    Called once while the server is put together, where there is no event loop: what needs one is made by a view, when
    it is first needed. The server has already checked who is asking when a view runs; raise the errors of
    ``mosaicfs_core.hooks`` and they become the documented answers.
    """


@hookspec
def mosaicfs_commands(cli: click.Group, context: CommandContext) -> None:
    """Add commands or a group of commands to ``cli``. Called at every start of ``mosaicfs``: import lazily."""


@hookspec
def mosaicfs_hub(context: PluginContext, address: HubAddress) -> Hub | None:
    """The database behind ``[hub] url``, which several control planes share; None for an address that is not for you.

    Called once when a control plane with such an address starts; the first plugin that answers is taken. Return at
    once, without I/O: the hub may be down, and is asked again and again until it is not.
    """
