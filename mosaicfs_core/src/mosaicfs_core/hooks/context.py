"""What the host hands to a plugin: contexts, queries and their answers.

The contexts are protocols, so that a plugin sees the same surface in process and across a wire. All values are plain
data that can be serialized.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from mosaicfs_core.hooks.specs import StepOp

if TYPE_CHECKING:
    from mosaicfs_core.errors import PluginError
    from mosaicfs_core.hooks.health import Notice

T = TypeVar("T")
Status: TypeAlias = Literal["healthy", "degraded", "unhealthy"]


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An indexed file. ``file_id`` is ``{node_id}.{uuid}``; ``mtime`` is microseconds since the epoch, UTC."""

    file_id: str
    node_id: str
    export_path: str
    name: str
    size: int
    mtime: int
    inode: int
    mime_type: str | None = None
    status: str = "active"


class FilePlace(NamedTuple):
    """Where a file is: a node and the path there."""

    node_id: str
    export_path: str


class Held(NamedTuple):
    """How much of a file is on this node: ``present`` of ``size`` bytes; ``whole`` when it can be read offline."""

    present: int
    size: int
    whole: bool


class FileQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which files are wanted; all conditions hold together, absent ones do not constrain.

    ``text`` is a substring of the name, any case, or a glob over the whole name when it has ``*``, ``?`` or ``[``.
    ``labels`` must all be in the file's effective set. ``annotations`` maps ``plugin/key`` to a value, which is a
    regular expression when it begins with ``~``; both mean what they mean in the step op ``annotation``. Times are
    microseconds. ``cursor`` is the opaque one of a former ``Page`` of the same query; ``offset`` does not count beside
    it. ``status`` is ``active``, ``deleted`` or None for both. ``limit`` is 0 to 10,000.
    """

    text: str | None = None
    node_id: str | None = None
    export_path: str | None = None
    path_prefix: str | None = None
    mime_type: str | None = None
    labels: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}
    min_size: int | None = None
    max_size: int | None = None
    modified_after: int | None = None
    modified_before: int | None = None
    status: str | None = "active"
    limit: int = 100
    offset: int = 0
    cursor: str | None = None


class DocumentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Documents of one type, by the leading fields of an index, in the order of its fields.

    ``type`` names an index, ``key`` gives none, some or all of its fields:

    * ``virtual_directory``: virtual_path; ``virtual_directory.parent``: parent_path, name
    * ``node``: node_id; ``agent_status``: node_id; ``utilization_snapshot``: node_id, captured_at
    * ``label_assignment``: node_id, export_path; ``label_assignment.label``: label, node_id, export_path
    * ``label_rule``: node_id (or ``*``), path_prefix; ``label_rule.label``: label, node_id (or ``*``), path_prefix
    * ``plugin``: node_id, plugin_name
    * ``annotation``: node_id, export_path, plugin_name; ``annotation.plugin``: plugin_name, node_id, export_path
    * ``notification``: status, severity, last_seen; ``notification.seen``: last_seen

    Documents of a type that this version does not know are found by that type, the key being their id. ``limit`` is 0
    to 10,000.
    """

    type: str
    key: tuple[str, ...] = ()
    limit: int = 100
    offset: int = 0


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which files: those that pass a chain of filter steps and, where ``directory`` is given, that the virtual
    directory of this path shows at any depth.

    Of files that share a name in the directory all count, also those that it hides behind the newest. Where there is
    neither a directory nor a step, ``default_result`` alone decides.
    """

    directory: str | None = None
    steps: tuple[Mapping[str, Any], ...] = ()
    default_result: Literal["include", "exclude"] = "include"


class SelectedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file and the names of the selections that hold it now, in their order. ``file`` is as its document says now,
    None when it is gone."""

    file_id: str
    file: FileRecord | None = None
    selections: tuple[str, ...] = ()


class SelectedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files that a selection began to hold, that changed while one did, or that are held by one fewer.

    ``complete`` is true from the moment when every file that was there at the start has been named. ``warnings`` are
    sentences about selections, by name: a step that is unknown here, a directory that shows nothing.
    """

    files: tuple[SelectedFile, ...] = ()
    complete: bool = False
    warnings: Mapping[str, tuple[str, ...]] = {}


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A slice of a longer list. ``total`` is exact up to 1,000 files; beyond that ``more`` is true. ``cursor`` leads on
    to the next slice of files, None after the last."""

    items: tuple[T, ...]
    total: int
    offset: int
    limit: int
    more: bool = False
    cursor: str | None = None


class PluginContext(Protocol):
    """The host as a plugin instance sees it. Every method is a coroutine unless it says otherwise.

    What needs the store or the bytes of a file raises ``Unavailable`` when that cannot be had at present (the disk is
    full, the instance is stopping).
    """

    @property
    def config(self) -> Mapping[str, Any]:
        """The instance's ``config`` with its ``settings`` laid over it, as of the last change."""

    @property
    def node_id(self) -> str:
        """The node this instance runs on."""

    @property
    def instance(self) -> str:
        """The instance's name."""

    @property
    def state_dir(self) -> Path:
        """A private directory that survives restarts (cursors, caches)."""

    @property
    def files_dir(self) -> Path:
        """Where an instance that provides a filesystem keeps bytes: export path ``/x/y`` is ``files_dir/x/y``."""

    @property
    def prefix(self) -> str:
        """The export path beneath which an instance that provides a filesystem names all its files; "" for others."""

    @property
    def excluded(self) -> Sequence[Path]:
        """Directories no crawl may enter, nor ask anything: the home of MosaicFS, then its mounts on this machine.

        Resolved, and true at the moment it is asked, even of a mount point whose directory is not made yet: ask again
        before each directory. Cheap; the same object until something changes. From any thread.
        """

    @property
    def logger(self) -> logging.Logger:
        """A logger that names the instance."""

    def written(self, path: bytes) -> str:
        """The written form of a native path. Plain function."""

    def native(self, path: str) -> bytes:
        """The native bytes of a written path. Plain function. Raises ``UserError`` for text that is no written path."""

    async def read_document(self, document_id: str) -> dict[str, Any] | None:
        """A document by its full id, with ``_id`` and ``_rev``; None when there is none or it is deleted. Secrets in
        the settings of other instances read ``{"set": true}``.

        Raises ``NotAllowed`` for a credential.
        """

    async def find_documents(self, query: DocumentQuery) -> Page[dict[str, Any]]:
        """Live documents of a type, with ``_id`` and ``_rev``, secrets masked as by ``read_document``. ``total`` is
        exact.

        Raises ``UserError`` for a limit, an offset or a key that the index does not have, and for files, which
        ``find_files`` finds; ``NotAllowed`` for credentials.
        """

    async def count_documents(self, index: str) -> Mapping[str, int]:
        """How many live documents each value of an index's first field has: ``label_assignment.label`` answers with how
        many assignments there are of each label.

        Raises ``UserError`` for files, ``NotAllowed`` for credentials.
        """

    async def write_documents(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Write documents that this node (or, for a control-plane plugin, the control plane) owns, all or none.

        A document carries ``_rev`` when it replaces one; ``_deleted: true`` leaves a tombstone. Returns the written
        ``{"id", "rev"}`` in order. Raises ``Stale`` when one was changed meanwhile, ``InvalidDocument`` when one fails
        its schema, and ``NotAllowed`` for what belongs to others and for credentials.
        """

    async def find_files(self, query: FileQuery) -> Page[FileRecord]:
        """Files by name and facts. Their order stays the same from page to page, and is that of whichever condition
        narrows the search most (by text: as they were indexed; by time alone: by time).

        Raises ``UserError`` for a limit, offset, cursor, status or pattern that makes no sense.
        """

    async def effective_labels(self, files: Sequence[FileRecord]) -> list[tuple[str, ...]]:
        """The effective labels of each file, sorted: those it was given and those of rules."""

    def open_file(self, file: FileRecord, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The file's bytes from ``offset``, at most ``length`` of them (None: to the end), as an async iterator of
        chunks, whatever tier they come from. Plain function that returns the iterator.

        The first step raises ``NotFound`` when the file is gone, ``NotAllowed`` when it lies outside of the watched
        folders, ``Unavailable`` when no tier reaches it.
        """

    async def local_path(self, file: FileRecord) -> Path | None:
        """The file's path on this machine, when it is of this node and there; else None."""

    def follow_files(self, selections: Mapping[str, Selection]) -> AsyncGenerator[SelectedFiles, None]:
        """Every file that a selection holds, and from then on every difference, for ever: an async iterator.

        It follows documents, labels, annotations, virtual directories and the clock (``age`` steps, within a minute),
        and looks again only at what changed. Raises ``UserError`` for a selection that cannot be understood.
        """

    async def check_selection(self, selection: Selection) -> tuple[str, ...]:
        """Check what a user is about to store; sentences about what is odd with it.

        Raises ``UserError`` with the field (``steps[2].pattern``) for wrong steps or a wrong directory.
        """

    async def pin(self, file: FileRecord) -> None:
        """Keep all bytes of a file on this node until ``unpin``, and wait until they are there.

        The pin itself holds from the first moment, across restarts, whatever comes of the bytes; it does not follow
        the file: call it again when the document's path, size or mtime change. Fetching is slow on purpose: two files
        at a time on the whole node, giving way to whoever reads. For a file of this node there is nothing to do.
        Raises ``NoRoom`` (nothing else that is pinned ever gives way), ``NotFound``, ``NotAllowed``, ``Stale`` when
        the owner has another version by now, ``Unavailable``; cancelled, it may be called again and goes on.
        """

    async def unpin(self, file: FileRecord | FilePlace) -> None:
        """Let go of a file that this instance has pinned; its bytes go when room is wanted, or another pins it."""

    async def pinned(self) -> list[FilePlace]:
        """What this instance has pinned."""

    async def held(self, files: Sequence[FileRecord]) -> list[Held]:
        """How much of each file is on this node, pinned or not. Asks no other node."""

    async def report(self, status: Status, detail: str = "", figures: Mapping[str, Any] | None = None) -> None:
        """Say how this instance is: it stands in the node's status (``subsystems.instances``) until the next report.

        ``detail`` is a sentence for people, ``figures`` a JSON object. The document is written on change, at most every
        30 seconds.
        """

    async def raise_notification(self, notice: Notice) -> None:
        """Tell the user of a condition that holds. Raised again while it holds, it is only noted that it still does.

        Raises ``UserError`` for a key that has other characters than ``Notice`` allows.
        """

    async def resolve_notification(self, key: str) -> None:
        """The condition of this key is over; nothing happens when it was never raised."""

    def capability(self, name: str, available: bool) -> None:
        """Withdraw a capability of the manifest's ``queries``, or offer it again. Plain function."""


class RoutesContext(PluginContext, Protocol):
    """The context of ``mosaicfs_routes``: acts for the control plane."""

    async def whoami(self) -> Mapping[str, Any]:
        """Who is asking, inside a view: ``{"access_key_id", "kind", "name"}``."""

    async def node_status(self, node_id: str) -> Mapping[str, Any] | None:
        """A node's ``agent_status``, None when it has never told one: this process's own as it is now, another's as it
        arrived last."""


class Api(Protocol):
    """The REST API of the instance a command talks to. Paths are below ``/api``, ``params`` become the query; calls
    block.

    An error answer is raised as the error it was made of: ``UserError`` (``NotAllowed`` among them), ``NotFound``,
    ``Conflict`` (``Stale``), ``PluginError``, ``Unavailable``. So is an instance that does not answer
    (``Unavailable``). Let them pass: the frame prints them and ends with the right exit code.
    """

    def get(self, path: str, /, **params: Any) -> Any:
        """GET; decoded JSON."""

    def get_with_etag(self, path: str, /, **params: Any) -> tuple[Any, str | None]:
        """GET; decoded JSON, and the entity tag of the version that it shows, for ``send``."""

    def send(self, method: str, path: str, /, body: Any = None, *, if_match: str | None = None, **params: Any) -> Any:
        """POST, PUT, PATCH or DELETE with a JSON body; decoded JSON, None for an empty answer.

        ``if_match`` is the entity tag of the version that the change was made of: where there is another one by now,
        nothing is changed and ``Stale`` is raised.
        """

    def download(
        self, path: str, /, target: Path, progress: Callable[[int, int], None] | None = None, **params: Any
    ) -> int:
        """Stream an answer into ``target``, which is replaced once all of it arrived; returns its size in bytes.

        ``progress`` is called with the bytes received and the total (0 when unknown). Raises ``OSError`` when
        ``target`` cannot be written.
        """


class CommandContext(Protocol):
    """What ``mosaicfs_commands`` gets: the way to the API and to the terminal."""

    @property
    def json(self) -> bool:
        """Whether the answer is for programs (``--json``)."""

    @property
    def home_dir(self) -> Path:
        """The home of the instance on this machine that the command is about; it may not exist yet."""

    @property
    def api(self) -> Api:
        """Connects on first use; a command that cannot reach the instance ends with exit code 3."""

    def show(self, value: Any, columns: Sequence[str] | Mapping[str, str] | None = None, empty: str = "") -> None:
        """Print a value: a table of ``columns`` (key to heading) for people, the value itself with ``--json``.

        ``value`` is a list of objects, a page ``{"items": …}`` or one object. ``empty`` is said when there is nothing.
        """

    def say(self, text: str) -> None:
        """Print a line for people (nothing with ``--json`` or ``--quiet``)."""

    def progress(self, label: str, total: int | None = None) -> Any:
        """A context manager whose value has ``advance(n)``; a bar on a terminal, silent otherwise."""

    def watchable(self, folders: Sequence[str]) -> list[str]:
        """Folders of this machine that the command line names for indexing, as native absolute paths. Raises
        ``UserError`` that names every one that cannot be indexed, and why."""

    def step_ops(
        self, *, first_party: bool = False, failed: Callable[[PluginError], None] | None = None
    ) -> Mapping[str, StepOp]:
        """The filter-step ops that installed plugins add, for a command that evaluates steps itself, as the mount does.

        ``first_party`` leaves out other people's packages. ``failed`` is called with each failure of an op, in whatever
        thread it happens; it is logged in any case.
        """
