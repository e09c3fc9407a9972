"""The flows: which documents travel where, in which form, and who may send them. Pure.

1. node → control plane: what the node may write (``owned_by``).
2. control plane → node: ``Access.for_node``.
3. control plane → browser: ``Access.for_browser``.
4. control plane ↔ hub: ``Access.everything``.

Whether a document belongs to a flow is in its id, which never changes (``covers``). A revision whose body does not
belong there (it claims another type or owner than its id, or a browser could make nothing of it) reaches the far side
as a removal: a tombstone under that very revision id. So both sides know the same revisions whoever asks, a later
revision that belongs again grows upon it, and a removal that is sent back says nothing new. What a reader must not see
of a document is left out in the same way: the revision id stays, the body shown differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from mosaicfs_core.documents import is_valid, may_write, type_of_id
from mosaicfs_core.documents.ids import TYPE_PREFIXES
from mosaicfs_core.documents.owners import takes_other_inode
from mosaicfs_core.errors import UserError
from mosaicfs_core.store.revisions import path_of

Document: TypeAlias = Mapping[str, Any]
Mask: TypeAlias = Callable[[Document], Document]

TO_NODES: Final = frozenset(
    {
        "file",
        "virtual_directory",
        "node",
        "credential",
        "label_assignment",
        "label_rule",
        "annotation",
        "notification",
    }
)
"""Types that every node reads."""
TO_ONE_NODE: Final = frozenset({"plugin", "agent_status", "utilization_snapshot"})
"""Types of which a node reads its own: its plugins, and what it wrote itself, so that a rebuilt machine goes on from
the revision where it was."""
TO_BROWSERS: Final = frozenset(
    {
        "virtual_directory",
        "node",
        "agent_status",
        "label_assignment",
        "label_rule",
        "plugin",
        "notification",
    }
)

_OF_TWO: Final = frozenset({"node", "label_assignment", "notification"})
"""Types of which a node's document is also written by the control plane."""
MAX_GENERATION: Final = 10**9
"""The greatest a node may make in such a document: upon the greatest that a revision can have nobody could write."""

NOT_ITS_INODE: Final = "inode: expected the one derived from the file's id, or one of the next that is free"
"""Why a file's document is refused whose inode is, or could be, another file's or a directory's."""

NO_SECRET: Final = "!"
"""The ``secret_key_hash`` of a stub: no hash, so no secret matches it."""
_OF_A_STUB: Final = ("type", "access_key_id", "name", "kind", "node_id", "created_at", "permissions", "revocation")
_OF_A_TOMBSTONE: Final = ("type", "node_id", "plugin_name", "access_key_id")
"""What a tombstone keeps of a type that holds secrets."""


def mask_texts(plugin: Document) -> Document:
    """A plugin document with every text of its settings masked: what to do when no schema says which are secret."""
    return {**plugin, **{part: _masked(plugin[part]) for part in ("config", "settings") if part in plugin}}


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return {"set": True} if isinstance(value, str) and value else value


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may read and write. ``scope`` names whose ``_local`` documents are theirs."""

    flow: Literal["everything", "node", "browser"]
    scope: str
    node_id: str = ""
    mask: Mask = mask_texts

    @classmethod
    def everything(cls, scope: str) -> Access:
        """The owner of the home, and a hub."""
        return cls("everything", scope)

    @classmethod
    def for_node(cls, node_id: str) -> Access:
        """An enrolled node."""
        return cls("node", f"node:{node_id}", node_id)

    @classmethod
    def for_browser(cls, scope: str, mask: Mask = mask_texts) -> Access:
        """A signed-in user. ``mask`` hides the secrets of a plugin document."""
        return cls("browser", scope, mask=mask)

    @property
    def unlimited(self) -> bool:
        """Whether everything is shown as it is stored."""
        return self.flow == "everything"

    @property
    def reads_files(self) -> bool:
        """Whether valid file documents are shown, as they are stored."""
        return self.flow != "browser"

    @property
    def types(self) -> frozenset[str]:
        """The types of which all documents are read, which is for counting."""
        if self.unlimited:
            return frozenset(TYPE_PREFIXES)
        return TO_NODES if self.flow == "node" else TO_BROWSERS

    def covers(self, document_id: str) -> bool:
        """Whether the document belongs to the flow, by its id. Of others not even the existence is told."""
        if self.unlimited:
            return True
        type_name = type_of_id(document_id)
        if self.flow == "browser":
            return type_name in TO_BROWSERS
        return type_name in TO_NODES or (type_name in TO_ONE_NODE and _node_in(document_id) == self.node_id)

    def shown(self, document: Document) -> Document | None:
        """A revision in the form in which this reader sees it; None when the document is not covered.

        ``document`` is whole, with ``_id``; what begins with an underscore is kept in any form.
        """
        if self.unlimited:
            return document
        document_id = document["_id"]
        if not self.covers(document_id):
            return None
        type_name = type_of_id(document_id)
        deleted = bool(document.get("_deleted"))
        strayed = document.get("type", type_name if deleted else None) != type_name
        if deleted and not strayed:
            return _only(document, _OF_A_TOMBSTONE) if type_name in ("credential", "plugin") else document
        if self.flow == "node":
            if type_name in TO_ONE_NODE and document.get("node_id") != self.node_id:
                strayed = True
            if strayed:
                return _removal(document, type_name)
            if type_name == "credential" and document.get("enabled", True) is not True:
                return {**_only(document, _OF_A_STUB), "enabled": False, "secret_key_hash": NO_SECRET}
            return document
        if strayed or not is_valid(document):
            return _removal(document, type_name)
        return self.mask(document) if type_name == "plugin" else document

    def may_learn_revisions(self, document_id: str) -> bool:
        """Whether ``_revs_diff`` tells the truth about a document: who reads it, and who sends it, must know."""
        return self.covers(document_id) or (self.flow == "node" and may_write({"_id": document_id}, self.node_id))

    def refusal(self, document: Document) -> str | None:
        """Why this sender may not write the document, or None."""
        if self.unlimited:
            return None
        if self.flow == "browser":
            return "a signed-in page reads here; it writes through the API"
        if not may_write(document, self.node_id):
            return f"{self.node_id} does not own this document"
        if takes_other_inode(document):
            return NOT_ITS_INODE
        if type_of_id(str(document.get("_id"))) in _OF_TWO and _generation(document) > MAX_GENERATION:
            return f"a revision beyond generation {MAX_GENERATION} leaves no room for others"
        return None

    def describes_itself(self, document: Document) -> bool:
        """Whether the document is the sender's own ``node`` document, of which only a part is its to write
        (``descriptions.taken``)."""
        return self.flow == "node" and type_of_id(str(document.get("_id"))) == "node"


def owned_by(node_id: str) -> Callable[[Document], bool]:
    """Flow 1: the documents that a node sends."""
    return lambda document: may_write(document, node_id)


def selector_of_node(node_id: str) -> dict[str, Any]:
    """Flow 2 as a selector over ids, which tombstones match too."""
    return {"$or": [_ids_of(TO_NODES), _ids_of(TO_ONE_NODE, node_id)]}


def _ids_of(types: frozenset[str], node_id: str | None = None) -> dict[str, Any]:
    prefixes = "|".join(sorted(TYPE_PREFIXES[name] for name in types))
    end = "" if node_id is None else f"{node_id}(::|$)"
    return {"_id": {"$regex": f"^({prefixes})::{end}"}}


def _generation(document: Document) -> int:
    """The generation that a document claims; 0 for one without a revision, or with one that no store takes."""
    try:
        return path_of(document)[0][0]
    except UserError:
        return 0


def _node_in(document_id: str) -> str:
    parts = document_id.split("::", 2)
    return parts[1] if len(parts) > 1 else ""


def _only(document: Document, names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key[:1] == "_" or key in names}


def _removal(document: Document, type_name: str | None) -> dict[str, Any]:
    return {**_only(document, ()), "_deleted": True, "type": type_name}
