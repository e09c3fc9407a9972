"""The services of a process, and the context that a plugin instance gets: ``hooks.PluginContext`` over them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args

import msgspec

from mosaicfs_core.documents import ids, owners, paths
from mosaicfs_core.documents.instances import package_of
from mosaicfs_core.errors import InvalidDocument, NotAllowed, Unavailable, UserError
from mosaicfs_core.hooks import (
    DocumentQuery,
    FilePlace,
    FileQuery,
    FileRecord,
    Held,
    Notice,
    Page,
    SelectedFiles,
    Selection,
    Status,
    StepOp,
)
from mosaicfs_core.lease import Lease, SoleLease
from mosaicfs_core.plugins import notifying, selecting
from mosaicfs_core.plugins.node_settings import SettingsOfNode
from mosaicfs_core.plugins.own_places import OwnPlaces
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.plugins.rescans import Rescans
from mosaicfs_core.plugins.settings import masked_plugin
from mosaicfs_core.plugins.showing import Showing
from mosaicfs_core.store.indexes import KEYS
from mosaicfs_core.store.search import MAX_LIMIT

if TYPE_CHECKING:
    from mosaicfs_core.config import Config
    from mosaicfs_core.home import Home
    from mosaicfs_core.plugins.host import PluginHost
    from mosaicfs_core.store import Reader, Store

# Hashes and wrapped keys are nobody's business but the server's, to read or to write.
_OF_THE_SERVER: Final = frozenset({"credential"})


class OpenFile(Protocol):
    """An open file as ``open_file`` needs it (``content.ByteSource``)."""

    def stream(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes in chunks."""

    def close(self) -> None:
        """Give it back."""


class KeepingService(Protocol):
    """What keeps other nodes' files here for plugins (``content.keeping.Keeper``)."""

    async def pin(self, file: FileRecord, holder: str) -> None: ...
    async def unpin(self, place: FilePlace, holder: str) -> None: ...
    async def pinned(self, holder: str) -> list[FilePlace]: ...
    async def held(self, files: Sequence[FileRecord]) -> list[Held]: ...
    async def keep_only(self, holders: Collection[str]) -> None: ...


class ContentService(Protocol):
    """What opens files (``content.Content``). ``keeper`` is there where a cache is."""

    @property
    def keeper(self) -> KeepingService | None: ...

    async def open(self, file: FileRecord) -> OpenFile:
        """Open by the cheapest tier that works. Raises a ``MosaicError``."""


class HubService(Protocol):
    """The link to a hub, as the API and those who judge other machines see it (``server.hub.HubLink``)."""

    def facts(self) -> dict[str, Any]:
        """How it stands: ``status`` (healthy, degraded), ``detail`` (a line for people) and figures."""

    def silent(self, plane: str) -> bool:
        """Whether another control plane of the hub was there and has not been heard of for minutes."""


@dataclass
class CoreServices:
    """The services of one process. ``agent`` is set once there is one; ``mounts`` holds the mount points of this node
    that whoever mounts there has announced; it is replaced, never changed, since other threads read it. ``own`` adds
    what else belongs to MosaicFS on this machine. ``failing`` says of long-lived tasks what ended them, by
    name, until they run well again. ``control`` is false in an agent's own process, where documents of the control
    plane are read and never written; ``control_url`` then says where it is. ``settings`` are this node's own,
    ``reports`` what plugin instances say of themselves, by name. ``hub`` is set where the control plane has one;
    ``lease`` says whether this process does what must happen once. ``withdrawn`` are capabilities that instances do
    not have at present, by name, and ``capability_changed`` is called when they are others; ``offers`` is what this
    node can be asked, by the part that answers it, and ``lacking`` what instances on it should answer and cannot at
    present, by capability and instance, with the reason in a word, None until that is known. ``showing`` is how far
    the mounts of this machine are. It is by ``ask_control`` (method, params, seconds) that an agent asks its control
    plane, once it has a link to it.
    ``rescans`` tells of plugins that are found installed while it runs."""

    home: Home
    config: Config
    store: Store
    content: ContentService
    host: PluginHost
    node_id: str
    agent: Any = None
    mounts: frozenset[Path] = frozenset()
    failing: dict[str, str] = field(default_factory=dict)
    control: bool = True
    control_url: str | None = None
    hub: HubService | None = None
    lease: Lease = field(default_factory=SoleLease)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    withdrawn: dict[str, set[str]] = field(default_factory=dict)
    capability_changed: Callable[[], None] = field(default=lambda: None)
    offers: dict[str, frozenset[str]] = field(default_factory=dict)
    lacking: dict[tuple[str, str], str] | None = None
    showing: Showing = field(default_factory=Showing)
    rescans: Rescans = field(default_factory=Rescans)
    ask_control: Callable[[str, Mapping[str, Any], float], Awaitable[Any]] | None = None
    settings: SettingsOfNode = field(init=False)
    own: OwnPlaces = field(init=False)

    def __post_init__(self) -> None:
        self.own = OwnPlaces(self.home.path)
        self.settings = SettingsOfNode(self.store, self.config, self.node_id)

    def not_here(self) -> NotAllowed:
        """The error for a change of what the control plane owns, in a process that is not it."""
        where = f" at {self.control_url}" if self.control_url else ""
        return NotAllowed(
            f"this is changed on the control plane{where}, not on an agent: set MOSAICFS_URL and an access key to do it"
            " from here"
        )

    @property
    def replica(self) -> Path:
        """The replica's file."""
        return self.home.replica

    async def shown_by_mounts(self) -> None:
        """Wait until the mounts of this machine show what the store holds now; for a moment at most."""
        await self.showing.wait(self.store.seq)

    def step_ops(self) -> Mapping[str, StepOp]:
        """The plugins' step ops by name."""
        return self.host.step_ops()

    def capabilities(self) -> list[str]:
        """What this node can be asked, as its ``node`` document says it."""
        return sorted(frozenset[str]().union(*self.offers.values()))

    @cached_property
    def bridge_files(self) -> Path:
        """Where plugins that provide a filesystem keep bytes: export path ``/x/y`` is ``bridge_files/x/y``."""
        return self.home.bridge_dir / "files"


class InstanceContext:
    """The host as one plugin instance on this node sees it. ``settings`` and ``places`` answer those of the moment."""

    def __init__(
        self,
        core: CoreServices,
        instance: str,
        settings: Callable[[], Mapping[str, Any]] = dict,
        places: Callable[[], Places] = Places,
    ) -> None:
        self._core = core
        self._instance = instance
        self._settings = settings
        self._places = places
        self._writer = core.node_id
        self._logger = logging.getLogger(f"mosaicfs.plugins.{instance}")

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings laid over the config and the schema's defaults, as of the last change."""
        return self._settings()

    @property
    def node_id(self) -> str:
        """This node."""
        return self._core.node_id

    @property
    def instance(self) -> str:
        """The instance's name."""
        return self._instance

    @property
    def state_dir(self) -> Path:
        """A private directory, made on first use."""
        return _made(self._core.home.state_dir / self._instance)

    @property
    def files_dir(self) -> Path:
        """The root of provided files, made on first use: export path ``/prefix/x`` is ``files_dir/prefix/x``."""
        return _made(self._core.bridge_files)

    @property
    def prefix(self) -> str:
        """The export path beneath which a filesystem's files are named, "" for other instances."""
        places = self._places()
        return "" if places.on_disk else places.own[0]

    @property
    def places(self) -> Places:
        """Where this instance's files lie, for the host."""
        return self._places()

    @property
    def excluded(self) -> Sequence[Path]:
        """This home, then every mount of MosaicFS on this machine; the same object until something changes."""
        return self._core.own.places(self._core.mounts)

    @property
    def logger(self) -> logging.Logger:
        """Names the instance."""
        return self._logger

    def written(self, path: bytes) -> str:
        """The written form of a native path."""
        return paths.escape(path)

    def native(self, path: str) -> bytes:
        """The native bytes of a written path. Raises ``UserError`` for text that is no written path."""
        return paths.unescape(path)

    async def read_document(self, document_id: str) -> dict[str, Any] | None:
        """A document or None, secrets in others' settings masked. Raises ``NotAllowed`` for credentials."""
        _refuse_of_the_server(ids.type_of_id(document_id))
        document = await self._core.store.get(document_id)
        return None if document is None else self._shown(document)

    async def find_documents(self, query: DocumentQuery) -> Page[dict[str, Any]]:
        """Documents of a type, secrets in others' settings masked. Raises ``UserError``, or ``NotAllowed`` for
        credentials."""
        _refuse_of_the_server(query.type.partition(".")[0])
        _check_query(query)
        page = await self._core.store.read(lambda reader: _page_of(reader, query))
        return msgspec.structs.replace(page, items=tuple(map(self._shown, page.items)))

    async def count_documents(self, index: str) -> Mapping[str, int]:
        """Documents by the first field of an index. Raises ``UserError``, or ``NotAllowed`` for credentials."""
        _refuse_of_the_server(index.partition(".")[0])
        _check_query(DocumentQuery(type=index))
        return await self._core.store.read(lambda reader: reader.counts_of(index))

    async def write_documents(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Write what this context may, all or none. Raises ``Stale``, ``InvalidDocument`` or ``NotAllowed``."""
        bodies = [dict(document) for document in documents]
        for body in bodies:
            self._check_write(body)
        revisions = await self._core.store.transaction(lambda tx: [tx.put(body) for body in bodies])
        return [{"id": body["_id"], "rev": rev} for body, rev in zip(bodies, revisions, strict=True)]

    async def find_files(self, query: FileQuery) -> Page[FileRecord]:
        """Files by name and facts."""
        return await self._core.store.read(lambda reader: reader.search(query))

    async def effective_labels(self, files: Sequence[FileRecord]) -> list[tuple[str, ...]]:
        """The effective labels of each file, sorted."""
        places = [(file.node_id, file.export_path) for file in files]
        return await self._core.store.read(lambda reader: reader.effective_labels(places))

    async def open_file(self, file: FileRecord, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The file's bytes in chunks. Raises ``NotFound``, ``NotAllowed`` or ``Unavailable``."""
        source = await self._core.content.open(file)
        try:
            async for chunk in source.stream(offset, length):
                yield chunk
        finally:
            source.close()

    async def local_path(self, file: FileRecord) -> Path | None:
        """The file's path on this machine, when it is of this node and there."""
        if file.node_id != self._core.node_id:
            return None
        native = Path(os.fsdecode(paths.unescape(file.export_path)))
        # Each job asks, nearly always in vain: texts are joined quicker than paths, and ``access`` answers quicker that
        # there is nothing than ``stat``, which raises. Pathlib would raise where the way there is barred.
        provided = f"{self._core.bridge_files}/{str(native).lstrip('/')}"
        if os.access(provided, os.F_OK) and os.path.isfile(provided):
            return Path(provided)
        return native if os.path.isfile(native) else None

    async def follow_files(self, selections: Mapping[str, Selection]) -> AsyncGenerator[SelectedFiles, None]:
        """The files of selections, and every difference from then on."""
        async with aclosing(selecting.follow(self._core.store, self._core.host.step_ops(), selections)) as found:
            async for files in found:
                yield files

    async def check_selection(self, selection: Selection) -> tuple[str, ...]:
        """What is odd with a selection. Raises ``UserError`` for one that is wrong."""
        return await self._core.store.read(
            lambda reader: selecting.check(reader, self._core.host.step_ops(), selection)
        )

    async def pin(self, file: FileRecord) -> None:
        """Keep a file's bytes here, and wait until they are all there."""
        await self._keeper().pin(file, self._instance)

    async def unpin(self, file: FileRecord | FilePlace) -> None:
        """Let go of a file."""
        await self._keeper().unpin(FilePlace(file.node_id, file.export_path), self._instance)

    async def pinned(self) -> list[FilePlace]:
        """What this instance has pinned."""
        return await self._keeper().pinned(self._instance)

    async def held(self, files: Sequence[FileRecord]) -> list[Held]:
        """How much of each file is here."""
        return await self._keeper().held(files)

    async def report(self, status: Status, detail: str = "", figures: Mapping[str, Any] | None = None) -> None:
        """Say how this instance is."""
        if status not in get_args(Status):
            raise UserError(f"status: expected one of {', '.join(get_args(Status))}, got {status!r}", field="status")
        self._core.reports[self._instance] = {**(figures or {}), "status": status, "detail": detail}

    async def raise_notification(self, notice: Notice) -> None:
        """Tell the user of a condition of this instance."""
        await notifying.raise_condition(
            self._core.store, notifying.of_plugin(self._core.node_id, self._instance, notice)
        )

    async def resolve_notification(self, key: str) -> None:
        """A condition of this instance is over."""
        await notifying.resolve_condition(
            self._core.store, self._core.node_id, notifying.plugin_key(self._instance, key)
        )

    def capability(self, name: str, available: bool) -> None:
        """Withdraw a capability, or offer it again."""
        withdrawn = self._core.withdrawn.setdefault(self._instance, set())
        if available:
            withdrawn.discard(name)
        else:
            withdrawn.add(name)
        self._core.capability_changed()

    def _owns(self, plugin: Mapping[str, Any]) -> bool:
        """Whether a plugin document is this instance's own."""
        return (plugin.get("node_id"), plugin.get("plugin_name")) == (self._core.node_id, self._instance)

    def _shown(self, document: dict[str, Any]) -> dict[str, Any]:
        if document.get("type") != "plugin" or self._owns(document):
            return document
        return masked_plugin(self._core.host, document)

    def _keeper(self) -> KeepingService:
        keeper = self._core.content.keeper
        if keeper is None:
            raise Unavailable("files of other nodes are kept by an agent, and there is none in this process")
        return keeper

    def _check_write(self, body: Mapping[str, Any]) -> None:
        document_id = body.get("_id")
        if not isinstance(document_id, str):
            raise InvalidDocument("a document needs its _id, a text", "_id")
        _refuse_of_the_server(ids.type_of_id(document_id))
        if not owners.may_write(body, self._writer):
            if not self._core.control and owners.owner_of(body) == ids.CONTROL_PLANE:
                raise self._core.not_here()
            raise NotAllowed(
                f"{self._instance} may not write {document_id}: it belongs to {owners.owner_of(body)}", id=document_id
            )
        if body.get("type") == "annotation" and body.get("plugin_name") != self._instance:
            raise NotAllowed(f"{self._instance} may not write annotations of {body.get('plugin_name')}", id=document_id)
        if body.get("type") == "plugin" and not self._owns(body):
            # It has read masks where secrets are, and could send them where it likes by other settings.
            raise NotAllowed(f"{self._instance} may not write settings of {package_of(body)}", id=document_id)


def _refuse_of_the_server(type_name: str | None) -> None:
    if type_name in _OF_THE_SERVER:
        raise NotAllowed(f"plugins may neither read nor write documents of type {type_name}")


def _check_query(query: DocumentQuery) -> None:
    fields = KEYS.get(query.type)
    if query.type == "file":
        raise UserError("type: files are found with find_files", field="type")
    if fields is not None and len(query.key) > len(fields):
        raise UserError(f"key: {query.type} is found by {', '.join(fields)}, got {query.key!r}", field="key")
    if not 0 <= query.limit <= MAX_LIMIT:
        raise UserError(f"limit: expected 0 to {MAX_LIMIT:,}", field="limit")
    if query.offset < 0:
        raise UserError("offset: expected 0 or more", field="offset")


def _page_of(reader: Reader, query: DocumentQuery) -> Page[dict[str, Any]]:
    found = reader.documents_of(query.type, query.key, limit=query.limit, offset=query.offset)
    total = reader.count_of(query.type, query.key)
    return Page(items=tuple(found), total=total, offset=query.offset, limit=query.limit)


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
