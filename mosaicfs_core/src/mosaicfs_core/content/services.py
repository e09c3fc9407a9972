"""What the virtual tree asks of the process that serves it: ``services_of`` the context of its routes."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mosaicfs_core.hooks import RoutesContext, StepOp
from mosaicfs_core.store import Store


class Finding(Protocol):
    """What an agent finds at a path: ``kind`` is a word, ``export_path`` what it is about, which may be a directory on
    the way, and ``message`` the reason for people."""

    @property
    def kind(self) -> str: ...
    @property
    def export_path(self) -> str: ...
    @property
    def message(self) -> str: ...


class DiskWitness(Protocol):
    """The part of the agent that can look."""

    async def look(self, path: str) -> Finding | None:
        """What is at an export path of this node that no indexed file answers to, or None."""

    async def refused(self, path: str) -> str | None:
        """Why the bytes of the indexed file at an export path of this node may not be read, None when they may."""


class AgentHere(DiskWitness, Protocol):
    """The agent that runs in this process."""

    def status(self) -> dict[str, Any]:
        """The ``agent_status`` document as of now, without its revision."""


class TreeServices(Protocol):
    """The services of this process that the tree is built on. ``failing`` says of long-lived tasks what ended them, by
    name; ``agent`` is None where none runs."""

    @property
    def store(self) -> Store: ...
    @property
    def replica(self) -> Path:
        """The replica's file, for readers of one's own."""

    @property
    def node_id(self) -> str: ...
    @property
    def agent(self) -> AgentHere | None: ...
    @property
    def control(self) -> bool:
        """Whether the control plane's documents are written here: the tree's directories are."""

    @property
    def failing(self) -> MutableMapping[str, str]: ...

    def not_here(self) -> Exception:
        """The error for a change of what the control plane owns, where ``control`` is false."""

    async def shown_by_mounts(self) -> None:
        """Wait until the mounts of this machine show what the store holds now; for a moment at most."""

    def step_ops(self) -> Mapping[str, StepOp]:
        """The plugins' step ops by name."""


@runtime_checkable
class _Serving(Protocol):
    @property
    def services(self) -> TreeServices: ...


def services_of(context: RoutesContext) -> TreeServices:
    """The services behind the context that ``mosaicfs_vfs`` has, which may use the store; others have what they need in
    the context. Raises ``TypeError`` for a context of theirs, and for one that is not of this process."""
    if not isinstance(context, _Serving):
        raise TypeError("the tree alone is given the services of the process that holds the store")
    return context.services
